"""A plan holds what is new, once."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcn.catalog.schema import RowError
from mcn.source import LISTED
from pipelines.plan import Plan


def listed(*tiles: tuple[str, str | None], well: str = "A") -> pa.RecordBatch:
    rows = [
        {"tile_id": name, "uri": f"s3://core/{name}", "etag": etag, "well": well, "depth_m": 1.0}
        for name, etag in tiles
    ]
    return pa.RecordBatch.from_pylist(rows, LISTED)


def scanned(*tiles: tuple[str, str | None, str]) -> pa.Table:
    rows = [{"tile_id": name, "etag": etag, "status": status} for name, etag, status in tiles]
    names = ["tile_id", "etag", "status"]
    return pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in names]))


def ids(plan: Plan) -> list[str]:
    return [name for batch in plan for name in batch["tile_id"].to_pylist()]


def test_what_the_catalogue_has_is_skipped() -> None:
    plan = Plan([listed(("a", "1"), ("b", "1")), listed(("c", "1"))], scanned(("b", "1", "ok")))
    assert ids(plan) == ["a", "c"]
    assert (plan.to_scan, plan.skipped) == (2, 1)


def test_a_changed_object_is_scanned_again() -> None:
    before = scanned(*((name, "1", "ok") for name in "abc"), ("d", None, "ok"))
    plan = Plan([listed(("a", "2"), ("b", "1"), ("c", None), ("d", "1"))], before)
    assert ids(plan) == ["a"]


def test_failed_tiles_are_scanned_again_when_asked() -> None:
    before = scanned(("a", "1", "failed"), ("b", "1", "ok"))
    assert ids(Plan([listed(("a", "1"), ("b", "1"))], before)) == []
    assert ids(Plan([listed(("a", "1"), ("b", "1"))], before, retry_failed=True)) == ["a"]


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1)),
    st.sets(st.sampled_from("abcdefgh")),
)
def test_each_new_tile_is_planned_once(batches: list[list[str]], before: set[str]) -> None:
    plan = Plan(
        [listed(*((name, "1") for name in batch)) for batch in batches],
        scanned(*((name, "1", "ok") for name in before)),
    )
    there = {name for batch in batches for name in batch}
    assert sorted(ids(plan)) == sorted(there - before)
    assert (plan.to_scan, plan.skipped) == (len(there - before), len(there & before))


def test_a_well_the_catalogue_cannot_hold_stops_the_scan_before_it_starts() -> None:
    with pytest.raises(RowError, match=r"s3://core/a: the well name .* is too long"):
        ids(Plan([listed(("a", "1"), well="é" * 200)], scanned()))
