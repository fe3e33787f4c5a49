"""A plan has each new tile once, in order, and shards divide it."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcn.catalog.schema import CRYSTALS, RowError, Tile, tile_id, tile_table
from mcn.catalog.store import Catalog
from mcn.catalog.wells import plain_well
from mcn.sources.listing import LISTED
from pipelines.planning import Plan, Shard, ShardError, make_plan

MODELS = ("seg@1", "cls@1")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.create(tmp_path / "catalog")


def listed(*tiles: tuple[str, str | None], well: str = "A", depth_m: float = 1.0) -> pa.RecordBatch:
    rows = [
        {"uri": f"s3://core/{name}", "etag": etag, "well": well, "depth_m": depth_m}
        for name, etag in tiles
    ]
    return pa.RecordBatch.from_pylist(rows, LISTED)


def scanned(catalog: Catalog, *tiles: tuple[str, str | None, str], model: str = "seg@1") -> None:
    rows = [
        Tile(
            tile_id=tile_id(f"s3://core/{name}"),
            uri=f"s3://core/{name}",
            etag=etag,
            well="A",
            depth_m=1.0,
            status=status,
            segmenter=model,
            classifier="cls@1",
            scan_id="before",
        )
        for name, etag, status in tiles
    ]
    catalog.commit(CRYSTALS.empty_table(), tile_table(rows))


def plan_of(catalog: Catalog, batches: Iterable[pa.RecordBatch], **options: Any) -> Plan:
    return make_plan(batches, catalog, MODELS, f"{catalog.uri}/_scans/now", **options)


def rows(plan: Plan, size: int = 1024) -> list[dict[str, Any]]:
    return [row for plan_slice in plan.slices(size) for row in plan_slice.read().to_pylist()]


def names(plan: Plan, size: int = 1024) -> list[str]:
    return [row["uri"].removeprefix("s3://core/") for row in rows(plan, size)]


def test_tiles_in_the_catalogue_are_skipped(catalog: Catalog) -> None:
    scanned(catalog, ("b", "1", "ok"))
    scanned(catalog, ("a", "1", "ok"), model="other@1")
    plan = plan_of(catalog, [listed(("c", "1"), ("b", "1")), listed(("a", "1"))])
    assert names(plan) == ["a", "c"]
    assert (plan.to_scan, plan.skipped, plan.again) == (2, 1, 0)
    assert plan.wells == {"A": 2}
    assert [row["tile_id"] for row in rows(plan)] == [tile_id(f"s3://core/{n}") for n in "ac"]


def test_a_changed_object_is_scanned_again(catalog: Catalog) -> None:
    scanned(catalog, *((name, "1", "ok") for name in "abc"), ("d", None, "ok"))
    tiles = [listed(("a", "2"), ("b", "1"), ("c", None), ("d", "1"))]
    plan = plan_of(catalog, tiles)
    assert names(plan) == ["a"]
    assert plan.again == 1
    scanned(catalog, ("a", "2", "ok"))
    assert names(plan_of(catalog, tiles)) == []


def test_failed_tiles_are_scanned_again_on_request(catalog: Catalog) -> None:
    scanned(catalog, ("a", "1", "failed"), ("b", "1", "ok"))
    tiles = [listed(("a", "1"), ("b", "1"))]
    assert names(plan_of(catalog, tiles)) == []
    assert names(plan_of(catalog, tiles, retry_failed=True)) == ["a"]


def test_repeated_rows_of_a_tile_are_counted(
    catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    decomposed = unicodedata.normalize("NFD", "Köln")
    tiles = [
        listed(("a", None), ("b", None), ("Köln", None)),
        listed(("a", None), (decomposed, None), depth_m=2.0),
        listed(("a", None), well="B"),
    ]
    plan = plan_of(catalog, tiles)
    assert [(row["uri"][-1], row["depth_m"]) for row in rows(plan)] == [
        ("n", 1.0),
        ("a", 1.0),
        ("b", 1.0),
    ]
    (warning,) = caplog.messages
    assert warning.startswith("left out 3 rows of tiles that are listed more than once, such as")
    caplog.clear()
    plan_of(catalog, tiles[:1])
    assert not caplog.messages


@settings(deadline=None, max_examples=25)
@given(
    batches=st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1)),
    before=st.sets(st.sampled_from("abcdefgh")),
    size=st.integers(1, 5),
)
def test_each_new_tile_is_planned_once(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[str]],
    before: set[str],
    size: int,
) -> None:
    catalog = Catalog.create(tmp_path_factory.mktemp("c"))
    if before:
        scanned(catalog, *((name, "1", "ok") for name in sorted(before)))
    plan = plan_of(catalog, [listed(*((name, "1") for name in batch)) for batch in batches])
    listed_names = {name for batch in batches for name in batch}
    assert names(plan, size) == sorted(listed_names - before)
    assert (plan.to_scan, plan.skipped) == (len(listed_names - before), len(listed_names & before))
    assert all(plan_slice.tiles <= size for plan_slice in plan.slices(size))


def test_tiles_are_sorted_by_well_and_depth(catalog: Catalog) -> None:
    batches = [
        listed((f"{well}{depth}", "1"), well=well, depth_m=depth)
        for well, depth in (("B", 2.0), ("A", 30.0), ("B", -1.0), ("A", 4.0))
    ]
    assert [(row["well"], row["depth_m"]) for row in rows(plan_of(catalog, batches))] == [
        ("A", 4.0),
        ("A", 30.0),
        ("B", -1.0),
        ("B", 2.0),
    ]


def test_the_first_of_two_rows_of_a_tile_is_used(catalog: Catalog) -> None:
    plan = plan_of(catalog, [listed(("a", "1"), well="B"), listed(("a", "1"), well="A")])
    assert [row["well"] for row in rows(plan)] == ["B"]


def test_shards_divide_all_tiles_by_whole_metres(catalog: Catalog) -> None:
    batches = [
        listed((f"{well}-{depth}", "1"), well=well, depth_m=depth / 4)
        for well in "ABC"
        for depth in range(200)
    ]
    shards = [rows(plan_of(catalog, batches, shard=Shard(job, 4))) for job in (1, 2, 3, 4)]
    counted = Counter(row["uri"] for shard in shards for row in shard)
    assert len(counted) == 600
    assert {*counted.values()} == {1}
    assert all(90 < len(shard) < 210 for shard in shards)
    metres = [{(row["well"], row["depth_m"] // 1) for row in shard} for shard in shards]
    assert sum(map(len, metres)) == len(set().union(*metres)) == 150


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/2"])
def test_invalid_shards_are_refused(text: str) -> None:
    with pytest.raises(ShardError, match="write it as I/N"):
        Shard.read(text)
    assert Shard.read(" 3/8 ") == Shard(3, 8)


def test_tiles_with_an_invalid_well_are_planned_to_fail(catalog: Catalog) -> None:
    long = "é" * 200
    plan = plan_of(catalog, [listed(("a", "1"), well=long), listed(("b", "1"))])
    faults = {row["well"]: row["fault"] for row in rows(plan)}
    assert faults.keys() == plan.wells.keys() == {"A", plain_well(long)}
    assert faults["A"] is None
    assert "is too long for a folder" in faults[plain_well(long)]


def test_wells_and_uris_are_compared_in_nfc(catalog: Catalog) -> None:
    nfc, nfd = (unicodedata.normalize(form, "Köln") for form in ("NFC", "NFD"))
    spelled = [listed((nfd, "1"), well=nfd), listed((nfc, "1"), ("b", "1"), well=nfc)]
    plan = plan_of(catalog, spelled)
    assert plan.wells == {nfc: 2}
    assert {*names(plan)} == {"b", nfd}
    scanned(catalog, (nfc, "1", "ok"))
    assert names(plan_of(catalog, spelled)) == ["b"]


def test_tile_ids_of_older_versions_are_recognised(
    catalog: Catalog,
) -> None:
    nfd = unicodedata.normalize("NFD", "Köln")
    uri = f"s3://core/{nfd}"
    older = Tile(
        tile_id=hashlib.sha256(uri.encode()).hexdigest()[:32],
        uri=uri,
        etag="1",
        well="A",
        depth_m=1.0,
        segmenter="seg@1",
        classifier="cls@1",
        scan_id="before",
    )
    catalog.commit(CRYSTALS.empty_table(), tile_table([older]))
    assert plan_of(catalog, [listed((nfd, "1"))]).to_scan == 0


def test_an_invalid_depth_stops_the_scan_before_it_starts(
    catalog: Catalog,
) -> None:
    with pytest.raises(RowError, match=r"s3://core/b: depth inf is not a number of metres"):
        plan_of(catalog, [listed(("a", "1")), listed(("b", "1"), depth_m=float("inf"))])


@pytest.mark.parametrize("size", [16, 1000, 1024, 5000])
def test_a_long_plan_is_read_in_slices_of_any_size(catalog: Catalog, size: int) -> None:
    tiles = 40_000
    plan = plan_of(catalog, [listed(*((f"{number:06d}", None) for number in range(tiles)))])
    assert plan.to_scan == tiles
    assert len(plan.files) == 3
    slices = plan.slices(size)
    assert sum(plan_slice.tiles for plan_slice in slices) == tiles
    chosen = [slices[0], slices[len(slices) // 2], slices[-1]]
    starts = [sum(s.tiles for s in slices[: slices.index(plan_slice)]) for plan_slice in chosen]
    for plan_slice, start in zip(chosen, starts, strict=True):
        expected = [f"s3://core/{start + i:06d}" for i in range(plan_slice.tiles)]
        assert plan_slice.read()["uri"].to_pylist() == expected
