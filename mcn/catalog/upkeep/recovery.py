"""Cleaning up after a scan: no partial commits, unnamed files or repeated rows remain."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.active_files import files
from mcn.catalog.data_files import PARTITIONS, label_of
from mcn.catalog.reading.views import count_orphans, open_views
from mcn.catalog.reading.well_list import store_well_list
from mcn.catalog.storage import explained, retry_conflict, retry_response
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep import scan_lease
from mcn.catalog.upkeep.rewriting import remove_rows
from mcn.catalog.upkeep.scan_lease import LeaseEntry
from mcn.io.objects import filesystem_of, retry_storage

_KEY: Final = "tile_id, segmenter, classifier"
_OUTDATED: Final = f"""
    SELECT well, {_KEY}, scanned_at FROM (
        SELECT *, max(scanned_at) OVER (PARTITION BY {_KEY}) AS latest FROM (
            SELECT well, {_KEY}, scanned_at FROM tile_rows
            WHERE tile_id IN (SELECT tile_id FROM tile_rows WHERE scanned_at >= $since)
        )
    ) WHERE scanned_at < latest
"""
_CLOCKS: Final = timedelta(hours=1)
"""Largest expected difference between the clocks of two machines."""


def recover(catalog: Catalog, mine: str) -> list[str]:
    """Clean up after every scan that has died.

    Parameters
    ----------
    catalog : Catalog
    mine : str
        The `scan_id` of the calling scan; its entry gives the storage's time.

    Returns
    -------
    list of str
        The scans that were cleaned up.

    Raises
    ------
    LostScanError
        If the calling scan's entry no longer exists.
    """
    known = scan_lease.entries(catalog)
    beats = {entry.scan_id: beat for entry, beat in known}
    if mine not in beats:
        raise scan_lease.LostScanError.of(catalog, mine)
    now = beats[mine]
    dead = [entry for entry, beat in known if scan_lease.is_dead(entry, beat, now)]
    for entry in dead:
        scan_lease.fence(catalog, entry.scan_id)
        finish(catalog, entry)
    return [entry.scan_id for entry in dead]


def finish(catalog: Catalog, entry: LeaseEntry, *, alone: bool = False) -> None:
    """Clean up after one scan, then release its lease. May be interrupted and repeated.

    Crystals committed without their tile rows are removed, uncommitted files are deleted, and
    the older rows of tiles that were scanned again are deleted.

    Parameters
    ----------
    catalog : Catalog
    entry : LeaseEntry
    alone : bool
        The scan is known to have scanned no tile that was already in the catalogue.
    """
    _remove_orphans(catalog, entry)
    delete_unnamed(catalog, [entry.scan_id])
    if not alone:
        drop_outdated(catalog, datetime.fromisoformat(entry.started) - _CLOCKS)
    store_well_list(catalog)
    scan_lease.release(catalog, entry.scan_id)


def drop_outdated(catalog: Catalog, since: datetime) -> int:
    """Delete the older rows of tiles that the same models have scanned again since then.

    Returns
    -------
    int
        Number of deleted tile rows.
    """
    with open_views(catalog, files(catalog.snapshot().tiles)) as connection:
        outdated_rows = connection.sql(_OUTDATED, params={"since": since}).to_arrow_table()
    for well in pc.unique(outdated_rows["well"]).to_pylist():
        outdated_in_well = outdated_rows.filter(pc.equal(outdated_rows["well"], well)).drop_columns(
            ["well"]
        )
        # Crystals first: they count only beside their tile row.
        for name in PARTITIONS:
            retry_conflict(partial(remove_rows, catalog, name, well, outdated_in_well))
    return int(outdated_rows.num_rows)


def _remove_orphans(catalog: Catalog, entry: LeaseEntry) -> None:
    """Remove parts of crystals from the log that have no tile rows."""

    def once() -> None:
        named = files(catalog.snapshot().crystals)
        named_paths = {unquote(path) for path in named["path"].to_pylist()}
        for part in entry.pending:
            if part.path in named_paths and _has_orphans(catalog, part.path, named):
                catalog.change("crystals", [part.removed()])

    if entry.pending:
        retry_conflict(once)


def _has_orphans(catalog: Catalog, path: str, named: pa.Table) -> bool:
    part_files = named.filter(
        pa.array([unquote(other) == path for other in named["path"].to_pylist()])
    )
    tiles = files(catalog.snapshot().tiles, part_files["partition.well"].to_pylist())
    with open_views(catalog, tiles, part_files) as connection:
        return count_orphans(connection) > 0


def unnamed_files(catalog: Catalog) -> list[str]:
    """Data files in the catalogue's folders that are in no snapshot, present or past."""
    unnamed = []
    for name in PARTITIONS:
        with explained(catalog.uri):
            table = catalog.delta_table(name)
            look = partial(
                table.vacuum, retention_hours=0, dry_run=True, enforce_retention_duration=False
            )
            past = {*retry_response(look)}
            every = retry_response(partial(look, full=True))
            unnamed += [f"{name}/{path}" for path in every if path not in past]
    return unnamed


def delete_unnamed(catalog: Catalog, scan_ids: Collection[str]) -> None:
    """Delete the data files of some scans that are in no snapshot.

    For scans that have ended or died. Workers of a killed scan may write for some seconds more,
    so a scan that recovered others calls this again at its end.
    """
    for path in unnamed_files(catalog):
        if label_of(path) in scan_ids:
            fs, file_path = filesystem_of(f"{catalog.uri}/{path}")
            # Another run may be cleaning up after the same scan.
            with explained(catalog.uri), suppress(FileNotFoundError):
                retry_storage(fs.rm_file, file_path)
