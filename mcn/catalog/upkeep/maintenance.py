"""Maintenance of a catalogue: info, verify, compact and vacuum."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mcn.catalog.active_files import files
from mcn.catalog.corrected.rows import faults as faults_of_corrections
from mcn.catalog.corrected.rows import vacuum as vacuum_corrections
from mcn.catalog.data_files import PARTITIONS, label_of
from mcn.catalog.integrity.damage import CURE, fault_of_bytes
from mcn.catalog.integrity.delta_log import check_entries
from mcn.catalog.reading.views import count_orphans, open_views
from mcn.catalog.reading.well_list import list_models, list_wells, store_well_list
from mcn.catalog.schema import ADDED_LATER, TILES, depth_bin
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
from mcn.catalog.upkeep.rewriting import merge_small_files, partitions_to_rewrite, small_files
from mcn.catalog.wells_table.table import faults as faults_of_wells
from mcn.catalog.wells_table.table import vacuum as vacuum_wells
from mcn.io.objects import fetch

_COMMIT_HOURS: Final = 24
"""More than the duration of any commit."""

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


TARGET_BYTES: Final = 32 * 2**20
"""Size of a compacted data file. A larger one has a footer that takes longer to read than the rows
of an interval."""

_WELLS_AT_ONCE: Final = 10
"""Wells that are compacted in one transaction."""

_TOTALS: Final = ("tiles", "tiles_ok", "tiles_failed", "crystals")


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
    wells, models = list_wells(catalog, now.tiles), list_models(catalog, now.tiles)
    small = sum(small_files(each, TARGET_BYTES) for each in (tile_files, crystal_files))
    return {
        "catalog": catalog.uri,
        "format": CATALOG_FORMAT,
        "depth_bin_m": catalog.depth_bin_m,
        **{name: pc.sum(wells[name]).as_py() or 0 for name in _TOTALS},
        "depth_min_m": pc.min(wells["depth_min_m"]).as_py(),
        "depth_max_m": pc.max(wells["depth_max_m"]).as_py(),
        "last_scan": _iso(pc.max(wells["last_scan"]).as_py()),
        "wells": [row | {"last_scan": _iso(row["last_scan"])} for row in wells.to_pylist()],
        "models": [row | {"last_scan": _iso(row["last_scan"])} for row in models.to_pylist()],
        "versions": {"tiles": now.tiles.version, "crystals": now.crystals.version},
        "files": tile_files.num_rows + crystal_files.num_rows,
        "small_files": small,
        "bytes": sum(
            pc.sum(table_files["size_bytes"]).as_py() or 0
            for table_files in (tile_files, crystal_files)
        ),
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat().replace("+00:00", "Z")


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
    tables = (("tiles", TILES, now.tiles), ("crystals", catalog.crystals_schema, now.crystals))
    active = {name: files(table) for name, _, table in tables}
    for name, _, _ in tables:
        try:
            check_entries(catalog.uri, name, catalog.delta_table(name), again=True)
        except CatalogStorageError as error:
            problems.append(str(error).removeprefix(f"{catalog.uri}/"))
    for name, schema, _ in tables:
        for entry in active[name].to_pylist():
            rows += entry["num_records"] or 0
            uri = f"{catalog.uri}/{name}/{unquote(entry['path'])}"
            fault = _file_fault(uri, entry, schema)
            if fault or (fault := _partition_fault(entry, catalog.depth_bin_m)):
                problems.append(f"{name}/{unquote(entry['path'])}: {fault}")
    problems += faults_of_wells(catalog) + faults_of_corrections(catalog.uri)
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


def compact(
    catalog: Catalog, target_bytes: int = TARGET_BYTES, *, only_small: bool = False
) -> dict[str, int]:
    """Rewrite small data files as fewer large ones sorted by depth, also during scans.

    Only partitions of several small files are rewritten, and those of older versions, whose row
    groups are larger, unless `only_small`; some wells at a time. A second run changes nothing.

    Returns
    -------
    dict
        `files_before`, `files_after`, `bytes_before`, `bytes_after` of both tables. The old
        files remain for readers of older snapshots until `vacuum`.
    """
    before, after = [], []
    for name in PARTITIONS:
        table_files = files(getattr(catalog.snapshot(), name))
        before.append(table_files)
        find = partial(partitions_to_rewrite, only_small=only_small)
        partitions = find(catalog, name, table_files, target_bytes)
        wells = [*dict.fromkeys(partition["partition.well"] for partition in partitions)]
        for start in range(0, len(wells), _WELLS_AT_ONCE):
            some = wells[start : start + _WELLS_AT_ONCE]
            retry_conflict(partial(merge_small_files, catalog, name, some, target_bytes, find))
        with explained(catalog.uri):
            retry_response(catalog.delta_table(name).create_checkpoint)
        after.append(files(getattr(catalog.snapshot(), name)))
    store_well_list(catalog)
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
    for name in PARTITIONS:
        with explained(catalog.uri):
            paths = retry_response(
                partial(
                    catalog.delta_table(name).vacuum,
                    retention_hours=keep_hours,
                    dry_run=dry_run,
                    enforce_retention_duration=False,
                    full=True,
                )
            )
        gone += [f"{name}/{unquote(path)}" for path in paths]
    gone += vacuum_wells(catalog, keep_hours, dry_run=dry_run)
    return gone + vacuum_corrections(catalog.uri, keep_hours, dry_run=dry_run)


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
