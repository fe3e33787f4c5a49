"""Plan a scan: which of the listed tiles to scan, and in which order. Plans are kept on disk."""

from __future__ import annotations

import logging
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

logger = logging.getLogger(__name__)

PLANNED: Final = pa.schema(
    [
        pa.field("tile_id", pa.string(), nullable=False),
        *LISTED,
        pa.field("fault", pa.string()),
    ]
)
"""A tile to scan. A tile with a `fault` cannot be stored; it fails without being read."""

_ROW_GROUP_TILES: Final = 1024
_FILE_TILES: Final = 16 * _ROW_GROUP_TILES

# `tile` is `mcn.catalog.schema.tile_id` as a number of 128 bits.
_SOURCE: Final = """
    CREATE TABLE source AS
    SELECT *, NULL::VARCHAR AS fault, sha256(nfc_normalize(uri))[1:32]::UUID AS tile,
        row_number() OVER () AS list_index
    FROM listed
"""
_SPELLED: Final = """
    UPDATE source SET well = spelled, fault = new_fault
    FROM (
        SELECT unnest($wells) AS listed_well, unnest($spelled) AS spelled,
            unnest($faults::VARCHAR[]) AS new_fault
    )
    WHERE well = listed_well
"""
_SCANNED: Final = """
    CREATE TABLE scanned AS
    SELECT
        CASE
            WHEN uri = nfc_normalize(uri) THEN try_cast(tile_id AS UUID)
            ELSE sha256(nfc_normalize(uri))[1:32]::UUID  -- not NFC: written by an older version
        END AS tile,
        arg_max(CASE WHEN etag IS NULL THEN 0 ELSE hash(etag) END, scanned_at) AS etag,
        arg_max(status = 'ok', scanned_at) AS ok
    FROM tile_rows WHERE segmenter = $segmenter AND classifier = $classifier
    GROUP BY 1
"""
# Each metre of a well belongs to one of the parallel jobs, independent of the rest of the list.
_SHARD: Final = """
    CREATE TABLE shard AS
    SELECT * FROM source
    WHERE md5_number_lower(well || '/' || floor(depth_m)::VARCHAR) % $jobs = $job
"""
_TO_SCAN: Final = """
    CREATE TABLE to_scan AS
    SELECT shard.*, scanned.tile IS NOT NULL AS again
    FROM shard LEFT JOIN scanned USING (tile)
    LEFT JOIN (
        SELECT tile, min(list_index) AS first FROM shard GROUP BY tile HAVING count(*) > 1
    ) repeated USING (tile)
    WHERE (repeated.first IS NULL OR shard.list_index = repeated.first)
        AND (
            scanned.tile IS NULL
            OR (shard.etag IS NOT NULL AND scanned.etag <> 0 AND hash(shard.etag) <> scanned.etag)
            OR ($retry_failed AND NOT scanned.ok)
        )
"""
_ORDERED: Final = f"""
    SELECT replace(tile::VARCHAR, '-', '') AS tile_id, {", ".join(LISTED.names)}, fault
    FROM to_scan ORDER BY well, depth_m, uri
"""


class ShardError(McnError):
    """A shard that is not one of 1/N to N/N."""


@dataclass(frozen=True)
class Shard:
    """One of several parallel jobs, each with its own tiles.

    Parameters
    ----------
    job, jobs : int
        Number of this job, from 1, and number of all jobs.
    """

    job: int = 1
    jobs: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.job <= self.jobs:
            raise ShardError(f"shard {self.job}/{self.jobs}: write it as I/N with I from 1 to N")

    @classmethod
    def read(cls, text: str) -> Shard:
        """Parse a text such as `3/8`."""
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
        if not match:
            raise ShardError(f"shard {text!r}: write it as I/N, such as 3/8")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class PlanSlice:
    """Consecutive tiles of a plan, read by one task."""

    uri: str
    start: int
    tiles: int

    def as_table(self) -> pa.Table:
        """One row that passes between processes."""
        return pa.table({name: [value] for name, value in asdict(self).items()})

    @classmethod
    def all_in(cls, table: pa.Table) -> list[PlanSlice]:
        """Slices in the rows of a table, as `as_table` writes them."""
        return [cls(**row) for row in table.to_pylist()]

    def read(self) -> pa.Table:
        """Read the tiles, with the schema `PLANNED`."""
        file = pq.ParquetFile(pa.BufferReader(fetch(self.uri)))
        first, offset = divmod(self.start, _ROW_GROUP_TILES)
        last = (self.start + self.tiles - 1) // _ROW_GROUP_TILES
        row_groups = file.read_row_groups(range(first, last + 1))
        return row_groups.slice(offset, self.tiles).cast(PLANNED)


@dataclass(frozen=True)
class Plan:
    """The tiles to scan, in order of well and depth, written to a folder.

    Parameters
    ----------
    files : mapping of str to int
        Tiles in each file of the plan, by URI.
    wells : mapping of str to int
        Tiles to scan in each well.
    skipped, again : int
        Tiles that the catalogue has and that are not scanned, and tiles that it has and that
        are scanned again: changed objects and, on request, failed tiles.
    """

    files: Mapping[str, int]
    wells: Mapping[str, int]
    skipped: int
    again: int

    def slices(self, tiles: int) -> list[PlanSlice]:
        """Split the plan into slices of at most `tiles` tiles, in order."""
        return [
            PlanSlice(uri, start, min(tiles, file_tiles - start))
            for uri, file_tiles in self.files.items()
            for start in range(0, file_tiles, tiles)
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
    """Plan a scan of each listed tile that the catalogue does not have.

    A tile is skipped if these models have scanned it and the object has not changed since.
    Tables larger than `mcn.io.scratch.MEMORY_MIB` spill to disk.

    Parameters
    ----------
    listed : iterable of RecordBatch
        Tiles of the source, of schema `mcn.sources.listing.LISTED`; the first of
        several with one URI counts, and the others are counted in a warning.
    catalog : Catalog
    models : (str, str)
        Names of segmenter and classifier.
    folder : str
        URI of the folder that the plan is written to.
    shard : Shard
    retry_failed : bool
        Scan failed tiles again.

    Raises
    ------
    RowError
        If a tile has no well or no depth.
    """
    with scratch_database() as database:
        database.register("listed", pa.RecordBatchReader.from_batches(LISTED, iter(listed)))
        database.execute(_SOURCE)
        _check_depths(database)
        _spell_wells(database)
        tile_files = files(catalog.snapshot().tiles)
        database.register("tile_rows", dataset(f"{catalog.uri}/tiles", TILES, tile_files))
        with damage_named(catalog.uri, {"tiles": tile_files}):
            database.execute(_SCANNED, dict(zip(("segmenter", "classifier"), models, strict=True)))
        database.execute(_SHARD, {"jobs": shard.jobs, "job": shard.job - 1})
        _report_repeated(database)
        database.execute(_TO_SCAN, {"retry_failed": retry_failed})
        wells = database.sql("SELECT well, count(*) FROM to_scan GROUP BY well ORDER BY well")
        per_well: dict[str, int] = dict(wells.fetchall())
        tiles = sum(per_well.values())
        distinct = _count(database, "SELECT count(DISTINCT tile) FROM shard")
        again = _count(database, "SELECT count(*) FROM to_scan WHERE again")
        written = dict(_write(database, folder)) if tiles else {}
    return Plan(written, per_well, distinct - tiles, again)


def _write(database: duckdb.DuckDBPyConnection, folder: str) -> Iterator[tuple[str, int]]:
    ordered = database.sql(_ORDERED).to_arrow_reader(_FILE_TILES)
    for number, rows in enumerate(_rechunk(ordered, _FILE_TILES)):
        uri = f"{folder}/plan-{number:06d}.parquet"
        file = pa.BufferOutputStream()
        pq.write_table(rows, file, row_group_size=_ROW_GROUP_TILES, compression="zstd")
        store(uri, file.getvalue().to_pybytes())
        yield uri, rows.num_rows


def _rechunk(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """The same rows in tables of equal length; only the last may be shorter."""
    waiting: list[pa.Table] = []
    rows = 0
    for batch in batches:
        waiting.append(pa.Table.from_batches([batch]).cast(PLANNED))
        rows += batch.num_rows
        if rows >= size:
            joined = pa.concat_tables(waiting)
            for start in range(0, rows - size + 1, size):
                yield joined.slice(start, size)
            waiting, rows = [joined.slice(rows - rows % size)], rows % size
    if rows:
        yield pa.concat_tables(waiting)


def _count(database: duckdb.DuckDBPyConnection, text: str) -> int:
    return int(database.sql(text).fetchall()[0][0])


def _report_repeated(database: duckdb.DuckDBPyConnection) -> None:
    """Log one line if the list has several rows of one tile."""
    rows, example = database.sql(
        "SELECT sum(rows - 1)::BIGINT, min(uri) FROM "
        "(SELECT count(*) AS rows, min(uri) AS uri FROM shard GROUP BY tile HAVING count(*) > 1)"
    ).fetchall()[0]
    if rows:
        logger.warning(
            "left out %d rows of tiles that are listed more than once, such as %r; the first row "
            "of each counts",
            rows,
            example,
        )


def _check_depths(database: duckdb.DuckDBPyConnection) -> None:
    """Raise now, and not hours into a scan, if a row cannot be stored in the catalogue."""
    invalid = database.sql(
        "SELECT uri, well, depth_m FROM source WHERE well = '' OR NOT isfinite(depth_m) LIMIT 1"
    )
    for uri, well, depth_m in invalid.fetchall():
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
    """Rewrite well names as the catalogue stores them; mark tiles of unusable names as faulty."""
    wells = [well for (well,) in database.sql("SELECT DISTINCT well FROM source").fetchall()]
    respelled = [well for well in wells if plain_well(well) != well]
    if respelled:
        names = {
            "wells": respelled,
            "spelled": [plain_well(well) for well in respelled],
            "faults": [well_fault(well) for well in respelled],
        }
        database.execute(_SPELLED, names)
