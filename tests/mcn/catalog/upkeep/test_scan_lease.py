"""A scan's lease shows that it is alive, what it commits, and that it has been lost."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mcn.catalog.data_files import DataFile
from mcn.catalog.storage import CatalogStorageError
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep import scan_lease
from mcn.catalog.upkeep.scan_lease import LostScanError, ScanLease, entries

PART = DataFile("crystals", "well=A/part-1.parquet", 5, 1, {"well": "A"}, "{}")


def test_a_lease_exists_until_it_is_released(catalog: Catalog) -> None:
    assert entries(catalog) == []
    with ScanLease(catalog, "one") as scan:
        assert [entry for entry, _ in entries(catalog)] == [scan.entry]
    assert [entry.scan_id for entry, _ in entries(catalog)] == ["one"], (
        "an unreleased lease remains"
    )
    folder = Path(scan_lease.folder_of(catalog, "one"))
    folder.mkdir()
    (folder / "progress").write_text("half")
    scan_lease.fence(catalog, "one")
    scan_lease.release(catalog, "one")
    assert entries(catalog) == []
    assert list(folder.parent.iterdir()) == []
    scan_lease.release(catalog, "one")


def test_announced_parts_are_stored_until_the_next_commit(catalog: Catalog) -> None:
    with ScanLease(catalog, "one") as scan:
        scan.announce([PART, replace(PART, path="well=A/part-2.parquet")])
        ((entry, _),) = entries(catalog)
        assert entry == scan.entry
        assert [part.path[-9] for part in entry.pending] == ["1", "2"]
        assert entry.pending[0] == PART
        scan.announce([])
        assert entries(catalog)[0][0].pending == ()


@pytest.mark.parametrize("lose", [scan_lease.fence, scan_lease.release])
def test_a_lost_scan_announces_nothing_more(catalog: Catalog, lose) -> None:  # type: ignore[no-untyped-def]
    with ScanLease(catalog, "one") as scan:
        lose(catalog, "one")
        with pytest.raises(LostScanError, match="scan one sent no heartbeat for 300 s"):
            scan.announce([PART])
    assert all(entry.pending == () for entry, _ in entries(catalog))


def test_a_scan_of_this_machine_is_dead_when_its_process_has_ended(
    catalog: Catalog, dead_process: int
) -> None:
    with ScanLease(catalog, "here") as scan:
        ((entry, beat),) = entries(catalog)
    assert entry.process == os.getpid()
    assert not scan_lease.is_dead(entry, beat, beat)
    assert scan_lease.is_dead(replace(scan.entry, process=dead_process), beat, beat)
    elsewhere = replace(entry, place="elsewhere", process=dead_process)
    assert not scan_lease.is_dead(elsewhere, beat, beat), (
        "process ids of other machines are unknown"
    )


def test_times_are_those_of_the_storage(catalog: Catalog) -> None:
    with ScanLease(catalog, "one"):
        ((_, beat),) = entries(catalog)
        (file,) = Path(catalog.uri, "_scans").iterdir()
        os.utime(file, (1e9, 1e9))
        ((_, earlier),) = entries(catalog)
    assert beat.tzinfo is not None
    assert earlier == datetime.fromtimestamp(1e9, UTC)


@pytest.mark.parametrize(
    "change", [{"pending": [{"path": "x"}]}, {"unknown": 1}, {"pending": None}]
)
def test_an_entry_with_other_fields_is_damaged(catalog: Catalog, change: dict[str, object]) -> None:
    with ScanLease(catalog, "one") as scan:
        pass
    (file,) = Path(catalog.uri, "_scans").iterdir()
    file.write_text(json.dumps(json.loads(scan.entry.as_bytes()) | change))
    with pytest.raises(CatalogStorageError, match="cut short or was changed") as raised:
        entries(catalog)
    assert str(raised.value).startswith(f"file://{file}: ")
    assert raised.value.trouble == "damaged"


def test_a_scan_of_another_machine_is_dead_without_a_heartbeat(catalog) -> None:
    with ScanLease(catalog, "here") as scan:
        ((entry, beat),) = entries(catalog)
    assert entry == scan.entry
    elsewhere = replace(entry, place="elsewhere")
    assert not scan_lease.is_dead(elsewhere, beat, beat + timedelta(seconds=scan_lease.DEAD_S - 1))
    assert scan_lease.is_dead(elsewhere, beat, beat + timedelta(seconds=scan_lease.DEAD_S + 1))


def test_a_truncated_entry_of_a_scan(catalog: Catalog) -> None:
    with ScanLease(catalog, "one"):
        pass
    (file,) = Path(catalog.uri, "_scans").iterdir()
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(CatalogStorageError, match="delete it once no scan is running") as raised:
        scan_lease.entries(catalog)
    assert "\n" not in str(raised.value)
    assert raised.value.trouble == "damaged"
