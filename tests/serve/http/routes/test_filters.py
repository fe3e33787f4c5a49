"""Filters that contradict each other, and cursors that are not ours."""

import base64
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from serve.http.errors import Problem
from serve.http.routes.filters import columns_of, cursor_of, depths_of, read_cursor

from ...small_core import WELL


def test_a_cursor_comes_back() -> None:
    assert read_cursor(cursor_of((12.5, "a"))) == (12.5, "a")
    assert read_cursor(None) is None
    for cursor in ("%%", "e30=", cursor_of((float("inf"), "a")), cursor_of(("x", 1))):  # type: ignore[arg-type]
        with pytest.raises(Problem, match="not a cursor"):
            read_cursor(cursor)


@pytest.mark.parametrize("table", ["crystals", "tiles"])
@pytest.mark.parametrize(
    "last", ['[1,"\\ud800"]', '["1","a"]', "[true,null]", "[1e999,1]", "[" * 200]
)
def test_a_made_up_cursor_is_refused(core_client: TestClient, table: str, last: str) -> None:
    cursor = base64.urlsafe_b64encode(last.encode()).decode()
    path = f"/v1/wells/{quote(WELL, safe='')}/{table}"
    answer = core_client.get(path, params={"cursor": cursor})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith("cursor: not a cursor of this endpoint")


def test_columns_and_depths() -> None:
    assert columns_of(" a, b,,") == ("a", "b")
    assert columns_of(None) == ()
    assert depths_of("1200:") == (1200.0, None)
    with pytest.raises(Problem, match="not a range"):
        depths_of("deep")


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"corrections_only": True}, "need corrected=true"),
        ({"corrected": True, "corrections_only": True, "uncorrected_only": True}, "exclude"),
        ({"min_confidence": 2}, "min_confidence"),
        ({"min_size": 3, "max_size": 2}, "not a range"),
        ({"masks": "all"}, "masks"),
        ({"sort": "a;b"}, "sort"),
        ({"sort": "nothing"}, "no column 'nothing'"),
        ({"fields": "nothing"}, "no column 'nothing'"),
    ],
)
def test_filters_are_checked(core_client: TestClient, params: dict, reason: str) -> None:
    answer = core_client.get(f"/v1/wells/{quote(WELL, safe='')}/crystals", params=params)
    assert answer.status_code == 422, answer.text
    assert reason in answer.json()["detail"]
