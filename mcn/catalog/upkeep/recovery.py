"""Finishing after a scan: nothing half-committed, no file that nobody names, no row twice."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.active_files import files
from mcn.catalog.data_files import PARTITIONS, label_of
from mcn.catalog.query import count_orphans, open_views
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
"""By so much the clocks of two machines may differ."""


def recover(catalog: Catalog, mine: str) -> list[str]:
    """Finish after every scan that has died.

    Parameters
    ----------
    catalog : Catalog
    mine : str
        The `scan_id` of a scan with an entry of its own, which tells the storage's time.

    Returns
    -------
    list of str
        The scans that were finished.

    Raises
    ------
    LostScanError
        If the scan's own entry is gone.
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
    """Finish after one scan, then release its lease. May be cut short and done again.

    Crystals that were committed without their tile rows are taken back, files that were never
    committed are deleted, and rows of tiles that were scanned anew give way.

    Parameters
    ----------
    catalog : Catalog
    entry : LeaseEntry
    alone : bool
        Known to have scanned no tile that the catalogue had.
    """
    _take_back(catalog, entry)
    _delete_unnamed(catalog, entry.scan_id)
    if not alone:
        drop_outdated(catalog, datetime.fromisoformat(entry.started) - _CLOCKS)
    scan_lease.release(catalog, entry.scan_id)


def drop_outdated(catalog: Catalog, since: datetime) -> int:
    """Delete the rows of tiles that the same models have scanned anew since then.

    Returns
    -------
    int
        Tile rows deleted.
    """
    with open_views(catalog, files(catalog.tiles())) as connection:
        outdated_rows = connection.sql(_OUTDATED, params={"since": since}).to_arrow_table()
    for well in pc.unique(outdated_rows["well"]).to_pylist():
        outdated_in_well = outdated_rows.filter(pc.equal(outdated_rows["well"], well)).drop_columns(
            ["well"]
        )
        # Crystals first: they count only beside their tile row.
        for name in PARTITIONS:
            retry_conflict(partial(remove_rows, catalog, name, well, outdated_in_well))
    return int(outdated_rows.num_rows)


def _take_back(catalog: Catalog, entry: LeaseEntry) -> None:
    """Remove the parts of crystals from the log whose tile rows never came."""

    def once() -> None:
        named = files(catalog.crystals())
        there = {unquote(path) for path in named["path"].to_pylist()}
        for part in entry.pending:
            if part.path in there and _is_half(catalog, part.path, named):
                catalog.change("crystals", [part.removed()])

    if entry.pending:
        retry_conflict(once)


def _is_half(catalog: Catalog, path: str, named: pa.Table) -> bool:
    part_files = named.filter(
        pa.array([unquote(other) == path for other in named["path"].to_pylist()])
    )
    tiles = files(catalog.tiles(), part_files["partition.well"].to_pylist())
    with open_views(catalog, tiles, part_files) as connection:
        return count_orphans(connection) > 0


def unnamed_files(catalog: Catalog) -> list[str]:
    """Data files below the catalogue that are in no snapshot, present or past."""
    unnamed = []
    for name in PARTITIONS:
        with explained(catalog.uri):
            table = getattr(catalog, name)()
            look = partial(
                table.vacuum, retention_hours=0, dry_run=True, enforce_retention_duration=False
            )
            past = {*retry_response(look)}
            every = retry_response(partial(look, full=True))
            unnamed += [f"{name}/{path}" for path in every if path not in past]
    return unnamed


def _delete_unnamed(catalog: Catalog, scan_id: str) -> None:
    for path in unnamed_files(catalog):
        if label_of(path) == scan_id:
            fs, file_path = filesystem_of(f"{catalog.uri}/{path}")
            # Another run may be finishing after the same scan.
            with explained(catalog.uri), suppress(FileNotFoundError):
                retry_storage(fs.rm_file, file_path)
