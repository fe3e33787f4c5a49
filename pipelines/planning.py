"""Which of the listed tiles there is work on, in which order: a plan on disk, not in memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from mcn.catalog.active_files import dataset, files
from mcn.catalog.integrity.damage import damage_named
from mcn.catalog.schema import TILES, Tile
from mcn.catalog.store import Catalog
from mcn.catalog.wells import plain_well, well_fault
from mcn.errors import McnError
from mcn.io.objects import fetch, store
from mcn.io.scratch import scratch_database
from mcn.sources.listing import LISTED

if TYPE_CHECKING:
    import duckdb

PLANNED: Final = pa.schema(
    [
        pa.field("tile_id", pa.string(), nullable=False),
        *LISTED,
        pa.field("fault", pa.string()),
    ]
)
"""A tile to scan; where `fault` says why it cannot be kept, it fails without being read."""

_GROUP_TILES: Final = 1024
_FILE_TILES: Final = 16 * _GROUP_TILES

# The tile_id is `mcn.catalog.schema.tile_id`, as a number of 128 bits.
_SOURCE: Final = """
    CREATE TABLE source AS
    SELECT *, NULL::VARCHAR AS fault, sha256(nfc_normalize(uri))[1:32]::UUID AS tile,
        row_number() OVER () AS place
    FROM listed
"""
_SPELLED: Final = """
    UPDATE source SET well = spelled, fault = found
    FROM (
        SELECT unnest($wells) AS told, unnest($spelled) AS spelled,
            unnest($faults::VARCHAR[]) AS found
    )
    WHERE well = told
"""
_SETTLED: Final = """
    CREATE TABLE settled AS
    SELECT
        CASE
            WHEN uri = nfc_normalize(uri) THEN try_cast(tile_id AS UUID)
            ELSE sha256(nfc_normalize(uri))[1:32]::UUID  -- older versions hashed it as it was
        END AS tile,
        arg_max(CASE WHEN etag IS NULL THEN 0 ELSE hash(etag) END, scanned_at) AS etag,
        arg_max(status = 'ok', scanned_at) AS ok
    FROM tile_rows WHERE segmenter = $segmenter AND classifier = $classifier
    GROUP BY 1
"""
# A metre of a well goes to one of the jobs side by side, whatever else is listed.
_MINE: Final = """
    CREATE TABLE mine AS
    SELECT * FROM source
    WHERE md5_number_lower(well || '/' || floor(depth_m)::VARCHAR) % $jobs = $job
"""
_TO_SCAN: Final = """
    CREATE TABLE to_scan AS
    SELECT mine.*, settled.tile IS NOT NULL AS again
    FROM mine LEFT JOIN settled USING (tile)
    LEFT JOIN (
        SELECT tile, min(place) AS first FROM mine GROUP BY tile HAVING count(*) > 1
    ) repeated USING (tile)
    WHERE (repeated.first IS NULL OR mine.place = repeated.first)
        AND (
            settled.tile IS NULL
            OR (mine.etag IS NOT NULL AND settled.etag <> 0 AND hash(mine.etag) <> settled.etag)
            OR ($retry_failed AND NOT settled.ok)
        )
"""
_ORDERED: Final = f"""
    SELECT replace(tile::VARCHAR, '-', '') AS tile_id, {", ".join(LISTED.names)}, fault
    FROM to_scan ORDER BY well, depth_m, uri
"""


class ShardError(McnError):
    """A share of the work that there is none of."""


@dataclass(frozen=True)
class Shard:
    """One of several jobs side by side, each with tiles of its own.

    Parameters
    ----------
    job, jobs : int
        Which one, from 1, and how many there are.
    """

    job: int = 1
    jobs: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.job <= self.jobs:
            raise ShardError(f"shard {self.job}/{self.jobs}: write it as I/N with I from 1 to N")

    @classmethod
    def read(cls, text: str) -> Shard:
        """The shard that a text such as `3/8` means."""
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if not found:
            raise ShardError(f"shard {text!r}: write it as I/N, such as 3/8")
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True)
class PlanSlice:
    """Consecutive tiles of a plan that are read by one task."""

    uri: str
    start: int
    tiles: int

    def as_table(self) -> pa.Table:
        """One row that passes between processes."""
        return pa.table({name: [value] for name, value in asdict(self).items()})

    @classmethod
    def all_in(cls, table: pa.Table) -> list[PlanSlice]:
        """The pieces of tables as `as_table` gives them."""
        return [cls(**row) for row in table.to_pylist()]

    def read(self) -> pa.Table:
        """Its tiles, of schema `PLANNED`."""
        file = pq.ParquetFile(pa.BufferReader(fetch(self.uri)))
        first, offset = divmod(self.start, _GROUP_TILES)
        last = (self.start + self.tiles - 1) // _GROUP_TILES
        groups = file.read_row_groups(range(first, last + 1))
        return groups.slice(offset, self.tiles).cast(PLANNED)


@dataclass(frozen=True)
class Plan:
    """The tiles to scan, in order of well and depth, written to a folder.

    Parameters
    ----------
    files : mapping of str to int
        Addresses of the plan's files, and the tiles in each.
    wells : mapping of str to int
        Tiles to scan of each well.
    skipped, again : int
        Tiles that the catalogue has already, and tiles to scan that it has too: changed
        objects, or failed ones to be tried once more.
    """

    files: Mapping[str, int]
    wells: Mapping[str, int]
    skipped: int
    again: int

    def slices(self, tiles: int) -> list[PlanSlice]:
        """The plan in pieces of so many tiles at most, in its order."""
        return [
            PlanSlice(uri, start, min(tiles, its - start))
            for uri, its in self.files.items()
            for start in range(0, its, tiles)
        ]

    @property
    def to_scan(self) -> int:
        """Number of tiles to scan."""
        return sum(self.wells.values())


def make_plan(
    listed: Iterable[pa.RecordBatch],
    catalog: Catalog,
    models: tuple[str, str],
    folder: str,
    *,
    shard: Shard = Shard(),
    retry_failed: bool = False,
) -> Plan:
    """Plan a scan: each listed tile once, but those that the catalogue has.

    A tile is left out if these models have seen it, unless the object has changed since.
    Lists, hashes and order are kept on disk where they are longer than
    `mcn.io.scratch.MEMORY_MIB`.

    Parameters
    ----------
    listed : iterable of RecordBatch
        Tiles of the source, of schema `mcn.sources.listing.LISTED`; of two of one URI the first
        counts.
    catalog : Catalog
    models : (str, str)
        Names of segmenter and classifier.
    folder : str
        Address to write the plan to.
    shard : Shard
    retry_failed : bool
        Take tiles that failed before once more.

    Raises
    ------
    RowError
        For a tile without a well or a depth.
    """
    with scratch_database() as database:
        database.register("listed", pa.RecordBatchReader.from_batches(LISTED, iter(listed)))
        database.execute(_SOURCE)
        _check_depths(database)
        _spell_wells(database)
        tile_files = files(catalog.tiles())
        database.register("tile_rows", dataset(f"{catalog.uri}/tiles", TILES, tile_files))
        with damage_named(catalog.uri, {"tiles": tile_files}):
            database.execute(_SETTLED, dict(zip(("segmenter", "classifier"), models, strict=True)))
        database.execute(_MINE, {"jobs": shard.jobs, "job": shard.job - 1})
        database.execute(_TO_SCAN, {"retry_failed": retry_failed})
        wells = database.sql("SELECT well, count(*) FROM to_scan GROUP BY well ORDER BY well")
        per_well: dict[str, int] = dict(wells.fetchall())
        tiles = sum(per_well.values())
        different = _number(database, "SELECT count(DISTINCT tile) FROM mine")
        again = _number(database, "SELECT count(*) FROM to_scan WHERE again")
        written = dict(_write(database, folder)) if tiles else {}
    return Plan(written, per_well, different - tiles, again)


def _write(database: duckdb.DuckDBPyConnection, folder: str) -> Iterator[tuple[str, int]]:
    ordered = database.sql(_ORDERED).to_arrow_reader(_FILE_TILES)
    for number, rows in enumerate(_of_length(ordered, _FILE_TILES)):
        uri = f"{folder}/plan-{number:06d}.parquet"
        file = pa.BufferOutputStream()
        pq.write_table(rows, file, row_group_size=_GROUP_TILES, compression="zstd")
        store(uri, file.getvalue().to_pybytes())
        yield uri, rows.num_rows


def _of_length(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """The same rows in tables of one length, but for the last."""
    waiting: list[pa.Table] = []
    rows = 0
    for batch in batches:
        waiting.append(pa.Table.from_batches([batch]).cast(PLANNED))
        rows += batch.num_rows
        if rows >= size:
            whole = pa.concat_tables(waiting)
            for start in range(0, rows - size + 1, size):
                yield whole.slice(start, size)
            waiting, rows = [whole.slice(rows - rows % size)], rows % size
    if rows:
        yield pa.concat_tables(waiting)


def _number(database: duckdb.DuckDBPyConnection, text: str) -> int:
    return int(database.sql(text).fetchall()[0][0])


def _check_depths(database: duckdb.DuckDBPyConnection) -> None:
    """Refuse what the catalogue cannot hold now, rather than hours into a scan."""
    odd = database.sql(
        "SELECT uri, well, depth_m FROM source WHERE well = '' OR NOT isfinite(depth_m) LIMIT 1"
    )
    for uri, well, depth_m in odd.fetchall():
        Tile(
            tile_id="",
            uri=uri,
            well=well,
            depth_m=depth_m,
            segmenter="",
            classifier="",
            scan_id="",
        )


def _spell_wells(database: duckdb.DuckDBPyConnection) -> None:
    """Call wells as the catalogue does; tiles of those that it cannot hold are to fail."""
    wells = [well for (well,) in database.sql("SELECT DISTINCT well FROM source").fetchall()]
    other = [well for well in wells if plain_well(well) != well]
    if other:
        told = {
            "wells": other,
            "spelled": [plain_well(well) for well in other],
            "faults": [well_fault(well) for well in other],
        }
        database.execute(_SPELLED, told)
