"""Files are rewritten without a row lost, doubled or put back."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pytest

from mcn.catalog.active_files import files
from mcn.catalog.data_files import digest_in_name
from mcn.catalog.query import query, sql
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep import rewriting
from mcn.catalog.upkeep.maintenance import compact, verify
from mcn.catalog.upkeep.rewriting import merge_small_files, remove_rows, small_partitions

KEY = "tile_id, segmenter, classifier, scanned_at"


def paths(catalog: Catalog, name: str) -> set[str]:
    return {*files(getattr(catalog, name)())["path"].to_pylist()}


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
def test_partitions_of_more_files_than_their_bytes_need_are_small(
    sizes: list[int], target: int, is_small: bool
) -> None:
    listed = pa.table(
        {
            "path": [f"{number}.parquet" for number in range(len(sizes))] + ["other"],
            "size_bytes": [*sizes, 7],
            "partition.well": ["A"] * len(sizes) + ["B"],
        }
    )
    expected = [{"partition.well": "A"}] if is_small else []
    assert small_partitions(listed, target) == expected


def test_merging_keeps_rows_and_leaves_other_wells_and_tables_alone(
    crumbs, make_tile, make_crystal, commit
) -> None:
    for number in range(3):
        commit(crumbs, (make_tile(f"b{number}", "B", 10.0), [make_crystal()]))
    before, tiles_before = query(crumbs), paths(crumbs, "tiles")
    others = {path for path in paths(crumbs, "crystals") if "well=B" in path}
    merge_small_files(crumbs, "crystals", "A 1", 2**20)
    after = paths(crumbs, "crystals")
    assert others < after
    assert len(after) == 3 + 2, "one file for each bin of depth"
    assert all(digest_in_name(path) for path in after)
    assert paths(crumbs, "tiles") == tiles_before
    assert query(crumbs).equals(before)
    assert verify(crumbs).ok


def test_removed_rows_are_gone_and_files_without_them_stay(
    crumbs, make_tile, make_crystal, commit
) -> None:
    compact(crumbs)
    commit(crumbs, (make_tile("last", "A 1", 7.0), [make_crystal()]))
    before, tiles_before = query(crumbs), paths(crumbs, "tiles")
    uri = f"{make_tile('3', 'A 1', 103.0).uri}"
    outdated = sql(crumbs, f"SELECT {KEY} FROM tiles WHERE uri = '{uri}'")
    assert outdated.num_rows == 1
    remove_rows(crumbs, "crystals", "A 1", outdated)
    remove_rows(crumbs, "tiles", "A 1", outdated)
    gone = outdated["tile_id"][0].as_py()
    kept = before.filter(pa.compute.not_equal(before["tile_id"], gone))
    assert kept.num_rows == before.num_rows - 3
    assert query(crumbs).equals(kept)
    assert len(paths(crumbs, "tiles") & tiles_before) == 1, "the last one's own file"
    assert verify(crumbs).ok


def test_a_file_that_has_lost_all_its_rows_is_dropped(crumbs) -> None:
    count = len(paths(crumbs, "tiles"))
    outdated = sql(crumbs, f"SELECT {KEY} FROM tiles ORDER BY depth_m LIMIT 1")
    for name in ("crystals", "tiles"):
        remove_rows(crumbs, name, "A 1", outdated)
    assert len(paths(crumbs, "tiles")) == len(paths(crumbs, "crystals")) == count - 1
    assert verify(crumbs).ok


def test_rows_of_another_time_are_not_those_to_remove(crumbs) -> None:
    before, version = query(crumbs), crumbs.crystals().version()
    outdated = sql(crumbs, f"SELECT {KEY} FROM tiles")
    column = outdated.schema.get_field_index("scanned_at")
    later = pa.compute.add(outdated["scanned_at"], pa.scalar(timedelta(microseconds=1)))
    outdated = outdated.set_column(column, outdated.schema.field(column), later)
    remove_rows(crumbs, "crystals", "A 1", outdated)
    assert query(crumbs).equals(before)
    assert crumbs.crystals().version() == version


def test_what_another_process_has_removed_is_not_put_back(crumbs, monkeypatch):
    written = rewriting.write_part

    def removed_meanwhile(uri, name, *details):
        part = written(uri, name, *details)
        monkeypatch.setattr(rewriting, "write_part", written)
        compact(crumbs)
        return part

    before = query(crumbs)
    monkeypatch.setattr(rewriting, "write_part", removed_meanwhile)
    compact(crumbs)
    assert query(crumbs).equals(before)
    assert sum(files(crumbs.crystals())["num_records"].to_pylist()) == before.num_rows
