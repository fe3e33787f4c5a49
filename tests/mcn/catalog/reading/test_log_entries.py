"""Entries of the log are applied to a list of files, or refused if they say more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcn.catalog.active_files import TableSnapshot, files
from mcn.catalog.reading.log_entries import apply_entry, committed_at

EMPTY = TableSnapshot("tiles", 3, {})


def added(path: str, well: str, **facts: Any) -> dict[str, Any]:
    return {
        "add": {
            "path": path,
            "partitionValues": {"well": well},
            "size": 5,
            "modificationTime": 7,
            **facts,
        }
    }


def test_files_are_added_and_removed() -> None:
    stats = json.dumps(
        {
            "numRecords": 2,
            "minValues": {"depth_m": 1, "scanned_at": "2026-11-26T12:00:00.001Z"},
            "maxValues": {"depth_m": 2.5},
        }
    )
    one = apply_entry(EMPTY, 4, [added("a", "A", stats=stats), added("b", "B")])
    assert one is not None
    (row, other) = files(one).to_pylist()
    assert (row["path"], row["num_records"], row["min.depth_m"]) == ("a", 2, 1.0)
    assert row["min.scanned_at"].isoformat() == "2026-11-26T12:00:00.001000+00:00"
    assert (other["num_records"], other["max.depth_m"]) == (None, None)
    remove = {"remove": {"path": "a", "partitionValues": {"well": "A"}}}
    two = apply_entry(one, 5, [remove, {"commitInfo": {"timestamp": 1500}}])
    assert two is not None
    assert ([*two.by_well], [*one.by_well], two.version) == (["B"], ["A", "B"], 5)


@pytest.mark.parametrize(
    "line",
    [
        {"metaData": {}},
        {"protocol": {}},
        {"new": {}},
        {"remove": {"path": "a"}},
        added("a", "A", deletionVector={"storageType": "u"}),
    ],
)
def test_what_is_not_known_is_left_to_deltalake(line: dict[str, Any]) -> None:
    assert apply_entry(EMPTY, 4, [line]) is None


def test_time_of_a_commit() -> None:
    assert committed_at([{"add": {}}, {"commitInfo": {"timestamp": 1500}}]) == 1.5
    assert committed_at([{"add": {}}]) is None
