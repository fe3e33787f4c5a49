"""Maintenance of a catalogue: info, verify, compact and vacuum."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from mcn.catalog.active_files import files
from mcn.catalog.data_files import label_of
from mcn.catalog.integrity.damage import CURE, fault_of_bytes
from mcn.catalog.integrity.delta_log import check_entries
from mcn.catalog.query import count_orphans, open_views
from mcn.catalog.schema import ADDED_LATER, depth_bin
from mcn.catalog.storage import (
    CatalogError,
    CatalogStorageError,
    explained,
    retry_conflict,
    retry_response,
    storage_trouble,
)
from mcn.catalog.store import CATALOG_FORMAT, Catalog
from mcn.catalog.upkeep import scan_lease
from mcn.catalog.upkeep.recovery import unnamed_files
from mcn.catalog.upkeep.rewriting import merge_small_files, small_partitions
from mcn.catalog.wells_table.table import faults as faults_of_wells
from mcn.catalog.wells_table.table import vacuum as vacuum_wells
from mcn.io.objects import fetch

_COMMIT_HOURS: Final = 24
"""More than the duration of any commit."""

_COUNTS = """
    SELECT
        CASE GROUPING(well, segmenter)
            WHEN 3 THEN '' WHEN 1 THEN 'well' ELSE 'segmenter/classifier'
        END AS level,
        well, segmenter, classifier,
        count(*) AS tiles,
        count(*) FILTER (status = 'ok') AS tiles_ok,
        count(*) FILTER (status = 'failed') AS tiles_failed,
        coalesce(sum(n_crystals), 0)::BIGINT AS crystals,
        min(depth_m) AS depth_min_m,
        max(depth_m) AS depth_max_m
    FROM {tiles}
    GROUP BY GROUPING SETS ((), (well), (segmenter, classifier))
    ORDER BY well, segmenter, classifier
"""
_REPEATED_TILES = """
    SELECT coalesce(sum(times - 1), 0)::BIGINT FROM (
        SELECT count(*) AS times FROM tile_rows
        GROUP BY tile_id, segmenter, classifier, scanned_at
    )
"""
_MOVED_TILES = """
    SELECT count(*) FROM (
        SELECT tile_id FROM tile_rows
        GROUP BY tile_id, segmenter, classifier HAVING count(DISTINCT well) > 1
    )
"""
_INCOMPLETE_TILES = """
    SELECT count(*) FROM all_tiles
    LEFT JOIN (
        SELECT tile_id, segmenter, classifier, scanned_at, count(*) AS crystal_count
        FROM crystal_rows GROUP BY ALL
    ) USING (tile_id, segmenter, classifier, scanned_at)
    WHERE coalesce(crystal_count, 0) <> n_crystals
"""


@dataclass(frozen=True)
class VerifyReport:
    """Result of `verify`. `problems` are faults; the other counts are harmless.

    Parameters
    ----------
    files, rows : int
        Number of data files, and of their rows.
    orphan_crystals : int
        Crystals without a tile row, from an interrupted commit. They are never visible.
    orphan_files : list of str
        Data files that no commit names, from a process that died; files of running scans are
        not included. The next scan, or `vacuum`, deletes them.
    problems : list of str
        One line for each fault: unreadable files, wrong counts, repeated or incomplete tiles.
    """

    files: int
    rows: int
    orphan_crystals: int
    orphan_files: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there is no fault."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"ok": self.ok, **asdict(self)}


def info(catalog: Catalog) -> dict[str, Any]:
    """Summary of a catalogue as JSON values: counts, wells, depths, models, files, bytes.

    Counts are for the latest models of each tile; those in `models` cover all scans.
    """
    now = catalog.snapshot()
    tile_files, crystal_files = files(now.tiles), files(now.crystals)
    with open_views(catalog, tile_files, crystal_files) as connection:
        latest, every = (
            connection.sql(_COUNTS.format(tiles=view)).to_arrow_table().to_pylist()
            for view in ("tiles", "all_tiles")
        )

    def counts_by(counts: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
        absent = {"well", "segmenter", "classifier"} - {*names}
        chosen = [row for row in counts if row["level"] == "/".join(names)]
        return [
            {name: row[name] for name in row if name not in absent | {"level"}} for row in chosen
        ]

    return {
        "catalog": catalog.uri,
        "format": CATALOG_FORMAT,
        "depth_bin_m": catalog.depth_bin_m,
        **counts_by(latest)[0],
        "wells": counts_by(latest, "well"),
        "models": counts_by(every, "segmenter", "classifier"),
        "versions": {"tiles": now.tiles.version(), "crystals": now.crystals.version()},
        "files": tile_files.num_rows + crystal_files.num_rows,
        "bytes": sum(
            sum(table_files["size_bytes"].to_pylist())
            for table_files in (tile_files, crystal_files)
        ),
    }


def verify(catalog: Catalog) -> VerifyReport:
    """Open every data file with two independent Parquet readers, and check the guarantees.

    Each file of the log must match the digest in its name. It is read by pyarrow, which checks
    the checksum of each page, and by fastparquet. Its rows, depths and columns must agree with
    the log and the schema, and its folder with its partition. Every tile must exist once, with
    as many crystals as its row says. The small table of wells is read whole.
    """
    now = catalog.snapshot()
    problems: list[str] = []
    rows = 0
    tables = {"tiles": now.tiles, "crystals": now.crystals}
    if (corrections := catalog.corrections()) is not None:
        tables["corrections"] = corrections
    active = {name: files(table) for name, table in tables.items()}
    for name, table in tables.items():
        try:
            check_entries(catalog.uri, name, table, again=True)
        except CatalogStorageError as error:
            problems.append(str(error).removeprefix(f"{catalog.uri}/"))
    for name in tables:
        for entry in active[name].to_pylist():
            rows += entry["num_records"] or 0
            uri = f"{catalog.uri}/{name}/{unquote(entry['path'])}"
            fault = _file_fault(uri, entry, catalog.schema_of(name))
            if fault or (fault := _partition_fault(entry, catalog.depth_bin_m)):
                problems.append(f"{name}/{unquote(entry['path'])}: {fault}")
    problems += faults_of_wells(catalog)
    orphans = 0
    if not problems:
        with open_views(catalog, active["tiles"], active["crystals"]) as connection:

            def count(text: str) -> int:
                return int(connection.sql(text).fetchall()[0][0])

            orphans = count_orphans(connection)
            for text, fault in (
                (_REPEATED_TILES, "tile rows are repeated"),
                (_MOVED_TILES, "tiles are in more than one well"),
                (_INCOMPLETE_TILES, "tiles have another number of crystals than their row states"),
            ):
                if number := count(text):
                    problems.append(f"{number} {fault}")
    running = {entry.scan_id for entry, _ in scan_lease.entries(catalog)}
    lost = [path for path in unnamed_files(catalog) if label_of(path) not in running]
    return VerifyReport(
        sum(table_files.num_rows for table_files in active.values()), rows, orphans, lost, problems
    )


def compact(catalog: Catalog, target_bytes: int = 128 * 2**20) -> dict[str, int]:
    """Rewrite small data files as fewer large ones sorted by depth, also during scans.

    Only partitions of several small files are rewritten, one well at a time. A second run
    changes nothing.

    Returns
    -------
    dict
        `files_before`, `files_after`, `bytes_before`, `bytes_after` of both tables. The old
        files remain for readers of older snapshots until `vacuum`.
    """
    before, after = [], []
    for name in catalog.existing():
        table_files = files(getattr(catalog, name)())
        before.append(table_files)
        small = small_partitions(table_files, target_bytes)
        for well in dict.fromkeys(partition["partition.well"] for partition in small):
            retry_conflict(partial(merge_small_files, catalog, name, well, target_bytes))
        with explained(catalog.uri):
            retry_response(getattr(catalog, name)().create_checkpoint)
        after.append(files(getattr(catalog, name)()))
    return {
        "files_before": sum(table_files.num_rows for table_files in before),
        "files_after": sum(table_files.num_rows for table_files in after),
        "bytes_before": sum(sum(table_files["size_bytes"].to_pylist()) for table_files in before),
        "bytes_after": sum(sum(table_files["size_bytes"].to_pylist()) for table_files in after),
    }


def vacuum(catalog: Catalog, keep_hours: int = 168, *, dry_run: bool = False) -> list[str]:
    """Delete data files that no recent snapshot needs.

    Parameters
    ----------
    catalog : Catalog
    keep_hours : int
        Younger files are kept. Choose more than the duration of the longest query, or files are
        deleted while it reads them.
    dry_run : bool
        Only list the files that would be deleted.

    Returns
    -------
    list of str
        The files, relative to the catalogue.

    Raises
    ------
    CatalogError
        If a scan has uncommitted files and less than a day is kept.
    """
    running = [entry.scan_id for entry, _ in scan_lease.entries(catalog)]
    if running and keep_hours < _COMMIT_HOURS and not dry_run:
        raise CatalogError(
            f"{catalog.uri}: scan {running[0]} is running or was interrupted, and its files "
            f"may not be committed yet; keep {_COMMIT_HOURS} hours or more, or scan again first"
        )
    gone = []
    for name, table in catalog.existing().items():
        with explained(catalog.uri):
            paths = retry_response(
                partial(
                    table.vacuum,
                    retention_hours=keep_hours,
                    dry_run=dry_run,
                    enforce_retention_duration=False,
                    full=True,
                )
            )
        gone += [f"{name}/{unquote(path)}" for path in paths]
    return gone + vacuum_wells(catalog, keep_hours, dry_run=dry_run)


def _partition_fault(entry: dict[str, Any], width: float) -> str | None:
    folders = dict(part.split("=", 1) for part in unquote(entry["path"]).split("/")[:-1])
    for name, value in folders.items():
        logged = entry["stored_well" if name == "well" else f"partition.{name}"]
        value = unquote(value)
        if (value if isinstance(logged, str) else float(value)) != logged:
            return f"is in {name}={value}, but the log says {logged}"
    start = entry.get("partition.depth_bin")
    # The log does not know the range of every file.
    ends = [depth for depth in (entry["min.depth_m"], entry["max.depth_m"]) if depth is not None]
    if start is None or not ends or (depth_bin(ends, width) == start).all():
        return None
    return f"contains depths outside its bin of {start:g} m"


def _file_fault(uri: str, entry: dict[str, Any], schema: pa.Schema) -> str | None:
    import fastparquet

    try:
        # The whole file is fetched with retries, as occasional storage errors are not its fault.
        data = fetch(uri)
    except FileNotFoundError:
        return f"missing; {CURE}"
    except OSError as error:
        raise storage_trouble(uri, error) from error
    if fault := fault_of_bytes(uri, data):
        return fault
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
        file = fastparquet.ParquetFile(io.BytesIO(data))
        frame = file.to_pandas(columns=["tile_id", "depth_m"])
    # Both readers and their codecs raise many types of errors on a damaged file.
    except Exception as error:
        return f"cannot be read ({(str(error) or repr(error)).splitlines()[0]})"
    stored = {name for name in schema.names if f"partition.{name}" not in entry}
    if missing := stored - ADDED_LATER - {*table.column_names}:
        return f"has no column {', '.join(sorted(missing))}"
    logged_rows = entry["num_records"]
    if table.num_rows != len(frame) or logged_rows not in (None, table.num_rows):
        return (
            f"has {table.num_rows} rows according to pyarrow, {len(frame)} according to "
            f"fastparquet, and {logged_rows} according to the log"
        )
    depths, low, high = frame["depth_m"], entry["min.depth_m"], entry["max.depth_m"]
    if (low is not None and depths.min() < low) or (high is not None and depths.max() > high):
        return "contains depths outside the range in the log"
    return None
