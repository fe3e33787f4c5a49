"""Rewriting files neither loses, duplicates nor restores rows."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mcn.catalog.active_files import files
from mcn.catalog.data_files import digest_in_name
from mcn.catalog.query import query, sql
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep import rewriting
from mcn.catalog.upkeep.maintenance import compact, verify
from mcn.catalog.upkeep.rewriting import (
    merge_small_files,
    partitions_to_rewrite,
    remove_rows,
    small_files,
)

KEY = "tile_id, segmenter, classifier, scanned_at"


def paths(catalog: Catalog, name: str) -> set[str]:
    return {*files(getattr(catalog.snapshot(), name))["path"].to_pylist()}


@pytest.mark.parametrize(
    ("sizes", "target", "is_small"),
    [
        ([5], 10, False),
        ([5, 4], 10, True),
        ([5, 5], 1000, True),
        ([100, 100], 100, False),
        ([100, 100, 1, 1, 1, 1], 100, True),
        ([1000], 10, False),
    ],
)
def test_partitions_with_too_many_files_are_selected(
    core: Catalog, sizes: list[int], target: int, is_small: bool
) -> None:
    listed = pa.table(
        {
            "path": [f"{number}.parquet" for number in range(len(sizes))] + ["other"],
            "size_bytes": [*sizes, 7],
            "num_records": [1] * (len(sizes) + 1),
            "partition.well": ["A"] * len(sizes) + ["B"],
        }
    )
    expected = [{"partition.well": "A"}] if is_small else []
    assert partitions_to_rewrite(core, "tiles", listed, target) == expected
    assert small_files(listed, target) == (len(sizes) if is_small else 0)


def test_files_of_the_older_layout_are_rewritten(fragmented, monkeypatch) -> None:
    compact(fragmented)
    before, crystal_paths = query(fragmented), paths(fragmented, "crystals")
    monkeypatch.setattr("mcn.catalog.upkeep.rewriting.ROW_GROUP_ROWS", 2)
    monkeypatch.setattr("mcn.catalog.data_files.ROW_GROUP_ROWS", 2)
    compact(fragmented)
    now = files(fragmented.snapshot().crystals)
    opened = fragmented.live.fragments.of("crystals", now)
    assert max(file.rows.max() for file in opened) <= 2
    assert not crystal_paths & {*now.filter(pc.greater(now["num_records"], 2))["path"].to_pylist()}
    assert query(fragmented).equals(before)
    version = fragmented.snapshot().crystals.version
    compact(fragmented)
    assert fragmented.snapshot().crystals.version == version


def test_merging_keeps_rows_and_does_not_change_other_wells_and_tables(
    fragmented, make_tile, make_crystal, commit
) -> None:
    for number in range(3):
        commit(fragmented, (make_tile(f"b{number}", "B", 10.0), [make_crystal()]))
    before, tiles_before = query(fragmented), paths(fragmented, "tiles")
    others = {path for path in paths(fragmented, "crystals") if "well=B" in path}
    merge_small_files(fragmented, "crystals", ["A 1"], 2**20)
    after = paths(fragmented, "crystals")
    assert others < after
    assert len(after) == 3 + 2, "one file per depth bin"
    assert all(digest_in_name(path) for path in after)
    assert paths(fragmented, "tiles") == tiles_before
    assert query(fragmented).equals(before)
    assert verify(fragmented).ok


def test_rows_are_removed_and_files_without_them_stay(
    fragmented, make_tile, make_crystal, commit
) -> None:
    compact(fragmented)
    commit(fragmented, (make_tile("last", "A 1", 7.0), [make_crystal()]))
    before, tiles_before = query(fragmented), paths(fragmented, "tiles")
    uri = f"{make_tile('3', 'A 1', 103.0).uri}"
    outdated = sql(fragmented, f"SELECT {KEY} FROM tiles WHERE uri = '{uri}'")
    assert outdated.num_rows == 1
    remove_rows(fragmented, "crystals", "A 1", outdated)
    remove_rows(fragmented, "tiles", "A 1", outdated)
    removed_id = outdated["tile_id"][0].as_py()
    expected = before.filter(pa.compute.not_equal(before["tile_id"], removed_id))
    assert expected.num_rows == before.num_rows - 3
    assert query(fragmented).equals(expected)
    assert len(paths(fragmented, "tiles") & tiles_before) == 1, "the last tile's file is unchanged"
    assert verify(fragmented).ok


def test_a_file_without_rows_is_dropped(fragmented) -> None:
    count = len(paths(fragmented, "tiles"))
    outdated = sql(fragmented, f"SELECT {KEY} FROM tiles ORDER BY depth_m LIMIT 1")
    for name in ("crystals", "tiles"):
        remove_rows(fragmented, name, "A 1", outdated)
    assert len(paths(fragmented, "tiles")) == len(paths(fragmented, "crystals")) == count - 1
    assert verify(fragmented).ok


def test_rows_of_another_time_are_kept(fragmented) -> None:
    before, version = query(fragmented), fragmented.snapshot().crystals.version
    outdated = sql(fragmented, f"SELECT {KEY} FROM tiles")
    column = outdated.schema.get_field_index("scanned_at")
    later = pa.compute.add(outdated["scanned_at"], pa.scalar(timedelta(microseconds=1)))
    outdated = outdated.set_column(column, outdated.schema.field(column), later)
    remove_rows(fragmented, "crystals", "A 1", outdated)
    assert query(fragmented).equals(before)
    assert fragmented.snapshot().crystals.version == version


def test_rows_that_another_process_removed_are_not_restored(fragmented, monkeypatch):
    written = rewriting.write_part

    def removed_meanwhile(uri, name, *details):
        part = written(uri, name, *details)
        monkeypatch.setattr(rewriting, "write_part", written)
        compact(fragmented)
        return part

    before = query(fragmented)
    monkeypatch.setattr(rewriting, "write_part", removed_meanwhile)
    compact(fragmented)
    assert query(fragmented).equals(before)
    assert sum(files(fragmented.snapshot().crystals)["num_records"].to_pylist()) == before.num_rows
