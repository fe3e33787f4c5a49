"""Tests of `mcn.catalog.upkeep.maintenance`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from mcn.catalog.active_files import files
from mcn.catalog.query import query
from mcn.catalog.schema import CRYSTALS, tile_table
from mcn.catalog.storage import CatalogError
from mcn.catalog.upkeep import scan_lease
from mcn.catalog.upkeep.maintenance import compact, info, vacuum, verify
from mcn.catalog.upkeep.scan_lease import ScanLease

from ....fakes import catalog_rows


def files_of(catalog) -> list[Path]:
    return sorted(Path(catalog.uri, "crystals").glob("well=*/**/*.parquet"))


def test_info_counts_visible_rows(core):
    summary = info(core)
    assert json.loads(json.dumps(summary)) == summary
    assert (summary["tiles"], summary["tiles_ok"], summary["tiles_failed"]) == (42, 41, 1)
    assert summary["crystals"] == 201
    assert (summary["depth_min_m"], summary["depth_max_m"]) == (-3.0, 1590.0)
    assert [(well["well"], well["crystals"]) for well in summary["wells"]] == [
        ("A", 200),
        ("B 2/Ü", 1),
        ("C", 0),
    ]
    assert [model["segmenter"] for model in summary["models"]] == ["compact@0123456789ab"]
    assert summary["versions"] == {"tiles": 1, "crystals": 1}
    assert summary["bytes"] > 0


def test_info_of_an_empty_catalogue(catalog):
    summary = info(catalog)
    assert (summary["tiles"], summary["crystals"], summary["depth_min_m"]) == (0, 0, None)
    assert summary["wells"] == summary["models"] == []


def test_compaction_keeps_every_row_and_vacuum_the_live_files(fragmented):
    before = query(fragmented)
    result = compact(fragmented)
    assert (result["files_before"], result["files_after"]) == (16, 3)
    assert query(fragmented).equals(before)
    assert compact(fragmented)["files_after"] == 3

    assert vacuum(fragmented) == []
    unused = vacuum(fragmented, 0, dry_run=True)
    assert len(unused) == 16
    assert len(files_of(fragmented)) == 8 + 2
    assert sorted(vacuum(fragmented, 0)) == sorted(unused)
    assert len(files_of(fragmented)) == 2
    assert query(fragmented).equals(before)
    assert verify(fragmented).ok


def test_compaction_sorts_rows_by_depth_and_skips_compact_wells(
    fragmented, make_tile, make_crystal, commit
):
    compact(fragmented)
    untouched = {*files_of(fragmented)}
    for number in (3, 1, 2):
        commit(fragmented, (make_tile(f"b{number}", "B", 10.0 * number), [make_crystal()] * 2))
    assert compact(fragmented)["files_after"] == 5
    after = {*files_of(fragmented)}
    assert untouched < after
    now = DeltaTable(f"{fragmented.uri}/crystals").file_uris([("well", "=", "B")])
    assert [pq.read_table(path)["depth_m"].to_pylist() for path in now] == [
        [10.0, 10.0, 20.0, 20.0, 30.0, 30.0]
    ]
    version = fragmented.snapshot().crystals.version
    compact(fragmented)
    assert fragmented.snapshot().crystals.version == version


def test_concurrent_compactions_and_a_commit_keep_every_row_once(
    fragmented, make_tile, make_crystal, commit
):
    before = query(fragmented).num_rows
    with ThreadPoolExecutor(4) as many:
        tasks = [many.submit(compact, fragmented) for _ in range(3)]
        more = many.submit(commit, fragmented, (make_tile("x", "A 1", 7.0), [make_crystal()] * 3))
        for task in (*tasks, more):
            task.result(timeout=300)
    assert query(fragmented).num_rows == before + 3
    assert sum(files(fragmented.snapshot().crystals)["num_records"].to_pylist()) == before + 3
    assert verify(fragmented).ok


def test_large_partitions_are_split_by_depth(fragmented):
    before = query(fragmented)
    size = sum(files(fragmented.snapshot().crystals)["size_bytes"].to_pylist())
    compact(fragmented, target_bytes=size // 6)
    file_table = files(fragmented.snapshot().crystals).sort_by("min.depth_m")
    assert 4 <= file_table.num_rows <= 8
    tops, bases = file_table["min.depth_m"].to_pylist(), file_table["max.depth_m"].to_pylist()
    assert all(base < top for base, top in zip(bases[:-1], tops[1:], strict=True))
    assert query(fragmented).equals(before)
    assert verify(fragmented).ok


def test_vacuum_deletes_no_files_of_a_running_scan(fragmented, make_tile):
    with ScanLease(fragmented, "now") as scan:
        tiles = tile_table([make_tile("new")])
        parts, _ = fragmented.write(CRYSTALS.empty_table(), tiles, "now")
        with pytest.raises(CatalogError, match="scan now is running or was interrupted"):
            vacuum(fragmented, 0)
        assert verify(fragmented).orphan_files == []
        fragmented.commit_parts(parts, scan.announce)
        scan_lease.release(fragmented, "now")
    vacuum(fragmented, 0)
    assert verify(fragmented).ok


def test_verify_lists_orphan_files(fragmented, make_tile):
    parts, _ = fragmented.write(CRYSTALS.empty_table(), tile_table([make_tile("lost")]), "lost")
    report = verify(fragmented)
    assert report.orphan_files == [f"tiles/{part.path}" for part in parts]
    assert report.ok
    vacuum(fragmented, 0)
    assert verify(fragmented).orphan_files == []


def test_verify_finds_a_file_in_another_wells_folder(fragmented):
    log = sorted(Path(fragmented.uri, "tiles", "_delta_log").glob("*.json"))[-1]
    # Without the digest of its actions, as older versions wrote it.
    entry = log.read_text().replace("mcn.actions", "other.actions")
    log.write_text(entry.replace('"well":"A 1"', '"well":"B"'))
    (problem,) = verify(fragmented).problems
    assert problem.endswith("is in well=A 1, but the log says B")


def test_verify_counts_files_and_rows(fragmented):
    report = verify(fragmented)
    assert report.ok
    assert (report.files, report.rows, report.orphan_crystals) == (16, 32, 0)
    assert json.loads(json.dumps(report.as_dict()))["ok"] is True


def test_verify_names_damaged_and_missing_files(fragmented):
    missing, cut, swapped, *_ = files_of(fragmented)
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:500])
    swapped.write_bytes(next(Path(fragmented.uri, "tiles").rglob("*.parquet")).read_bytes())
    report = verify(fragmented)
    assert not report.ok
    problem_by_file = dict(line.split(": ", 1) for line in report.problems)
    names = {str(path.relative_to(fragmented.uri)) for path in (missing, cut, swapped)}
    assert {*problem_by_file} == names
    assert (
        "missing; restore it from a backup"
        in problem_by_file[str(missing.relative_to(fragmented.uri))]
    )
    for path in (cut, swapped):
        fault = problem_by_file[str(path.relative_to(fragmented.uri))]
        assert "differ from those that were written; restore it" in fault
    assert all("\n" not in line for line in report.problems)


def test_verify_finds_broken_guarantees(catalog, make_tile, make_crystal, commit):
    commit(catalog, (make_tile(uri="/a.tif"), [make_crystal()]))
    moved = make_tile(uri="/a.tif", well="B")
    commit(catalog, (moved, [make_crystal()]))
    lost = tile_table([make_tile("lost", n_crystals=2)])
    for _ in range(2):
        write_deltalake(f"{catalog.uri}/tiles", lost, mode="append")
    report = verify(catalog)
    assert report.problems == [
        "1 tile rows are repeated",
        "1 tiles are in more than one well",
        "1 tiles have another number of crystals than their row states",
    ]


def test_verify_finds_crystals_in_another_bin(catalog, make_tile, make_crystal):
    tile = make_tile(depth_m=150.0, n_crystals=1)
    misplaced = catalog_rows([(tile, [make_crystal()])], depth_bin_m=40.0)
    write_deltalake(f"{catalog.uri}/crystals", misplaced, mode="append")
    (problem,) = verify(catalog).problems
    assert "outside its bin of 120 m" in problem


@pytest.mark.parametrize("depth_m", [-1e23, -250.0, 12.5, 1e16, 1e23])
def test_verify_reads_bins_of_any_depth(catalog, make_tile, make_crystal, commit, depth_m):
    commit(catalog, (make_tile(depth_m=depth_m), [make_crystal()]))
    assert verify(catalog).problems == []
