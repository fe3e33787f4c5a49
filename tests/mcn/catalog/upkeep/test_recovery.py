"""A scan removes whatever an interrupted scan has left."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from mcn.catalog.data_files import label_of
from mcn.catalog.query import query
from mcn.catalog.schema import tile_table
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep import scan_lease
from mcn.catalog.upkeep.maintenance import compact, verify
from mcn.catalog.upkeep.recovery import drop_outdated, finish, recover
from mcn.catalog.upkeep.scan_lease import LostScanError, ScanLease, entries
from mcn.io.objects import store

from ....fakes import catalog_rows


@pytest.fixture
def running_scan(catalog: Catalog) -> Iterator[str]:
    """Id of a running scan."""
    with ScanLease(catalog, "mine"):
        yield "mine"


def die(catalog: Catalog, scan: ScanLease, process: int) -> None:
    """Change a scan's entry to that of a process that has ended."""
    entry = replace(scan.entry, process=process)
    store(f"{catalog.uri}/_scans/{entry.scan_id}.json", entry.as_bytes())


def write(catalog, make_tile, make_crystal, label, *names, crystals=3, **facts):
    tiles = [make_tile(name, n_crystals=crystals, **facts) for name in names]
    rows = catalog_rows([(tile, [make_crystal()] * crystals) for tile in tiles], 100.0)
    return catalog.write(rows, tile_table(tiles), label)[0]


def data_files(catalog: Catalog) -> set[str]:
    root = Path(catalog.uri)
    return {str(file.relative_to(root)) for file in root.rglob("part-*")}


def crystal_rows(catalog: Catalog) -> int:
    """Rows as other readers of Delta tables count them."""
    actions = DeltaTable(f"{catalog.uri}/crystals").get_add_actions(flatten=True)
    return sum(actions["num_records"].to_pylist())


def test_parts_committed_repeatedly_are_visible_once(catalog, make_tile, make_crystal):
    parts = write(catalog, make_tile, make_crystal, "one", "a", "b")
    assert query(catalog).num_rows == 0
    catalog.commit_parts(parts)
    catalog.commit_parts(parts)
    assert query(catalog).num_rows == crystal_rows(catalog) == 6
    assert {label_of(part.path) for part in parts} == {"one"}
    assert verify(catalog).ok


@pytest.mark.parametrize("committed", ["nothing", "crystals", "both"])
def test_an_interrupted_commit(
    catalog, make_tile, make_crystal, dead_process, running_scan, committed
):
    catalog.commit_parts(write(catalog, make_tile, make_crystal, "before", "z"))
    with ScanLease(catalog, "lost") as scan:
        parts = write(catalog, make_tile, make_crystal, "lost", "a", "b")
        scan.announce([part for part in parts if part.table == "crystals"])
        for name in {"nothing": (), "crystals": ("crystals",), "both": ("crystals", "tiles")}[
            committed
        ]:
            catalog.change(name, [part.added() for part in parts if part.table == name])
    before = data_files(catalog)
    assert recover(catalog, running_scan) == [], "its process is still running"
    assert data_files(catalog) == before
    die(catalog, scan, dead_process)
    assert recover(catalog, running_scan) == ["lost"]
    assert recover(catalog, running_scan) == []
    expected_rows = 9 if committed == "both" else 3
    assert query(catalog).num_rows == crystal_rows(catalog) == expected_rows
    if (
        committed != "crystals"
    ):  # Files that were once in the log stay for readers of that snapshot.
        assert any("lost" in file for file in data_files(catalog)) == (committed == "both")
    assert verify(catalog).orphan_crystals == 0
    assert verify(catalog).ok
    assert {entry.scan_id for entry, _ in entries(catalog)} == {running_scan}
    catalog.commit_parts(write(catalog, make_tile, make_crystal, "again", "a", "b"))
    assert query(catalog).num_rows == 9


def test_an_interrupted_commit_after_a_compaction(
    catalog, make_tile, make_crystal, dead_process, running_scan
) -> None:
    catalog.commit_parts(write(catalog, make_tile, make_crystal, "before", "z"))
    with ScanLease(catalog, "lost") as scan:
        parts = write(catalog, make_tile, make_crystal, "lost", "a")
        scan.announce([part for part in parts if part.table == "crystals"])
        catalog.commit_parts(parts)
    compact(catalog)
    die(catalog, scan, dead_process)
    recover(catalog, running_scan)
    assert query(catalog).num_rows == crystal_rows(catalog) == 6


def test_a_scan_that_resumes_after_it_was_declared_dead_commits_nothing(
    catalog, make_tile, make_crystal, dead_process, running_scan
) -> None:
    with ScanLease(catalog, "asleep") as scan:
        parts = write(catalog, make_tile, make_crystal, "asleep", "a")
        scan_lease.fence(catalog, "asleep")
        with pytest.raises(LostScanError, match="replaced by another scan; run it again"):
            catalog.commit_parts(parts, scan.announce)
    die(catalog, scan, dead_process)
    recover(catalog, running_scan)
    with ScanLease(catalog, "asleep") as scan:
        scan_lease.release(catalog, "asleep")
        with pytest.raises(LostScanError, match="run it again"):
            scan.announce([])
        with pytest.raises(LostScanError, match="run it again"):
            recover(catalog, "asleep")
    assert crystal_rows(catalog) == 0


def test_rows_of_a_rescanned_tile_are_replaced(
    catalog, make_tile, make_crystal, running_scan
) -> None:
    quoted = {"well": "q'uote\"/1"}
    catalog.commit_parts(write(catalog, make_tile, make_crystal, "one", "a", "b", **quoted))
    catalog.commit_parts(write(catalog, make_tile, make_crystal, "one", "c"))
    with ScanLease(catalog, "second") as scan:
        catalog.commit_parts(
            write(catalog, make_tile, make_crystal, "two", "a", crystals=2, **quoted)
        )
        assert crystal_rows(catalog) == 11
        finish(catalog, scan.entry)
    assert query(catalog).num_rows == crystal_rows(catalog) == 8
    tiles = DeltaTable(f"{catalog.uri}/tiles").get_add_actions(flatten=True)
    assert sum(tiles["num_records"].to_pylist()) == 3
    assert verify(catalog).ok
    assert drop_outdated(catalog, datetime.now(UTC) - timedelta(hours=1)) == 0
