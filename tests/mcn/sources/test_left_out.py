"""Files that a listing leaves out are counted by kind, one path at a time or many at once."""

from __future__ import annotations

import logging

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcn.sources.left_out import LeftOut

paths = st.lists(st.text(st.sampled_from("ab./ é\n"), max_size=12), max_size=20)


def report(left_out: LeftOut, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        left_out.report("s3://core/tiles", logging.getLogger("test"))
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("path", "is_left_out"),
    [
        ("well=A/depth=1/a.tif", False),
        ("a..b/c.", False),
        ("", False),
        (".git/config", True),
        ("well=A/._a.tif", True),
        ("..", True),
        ("/a.tif", True),
        ("well=A//a.tif", True),
        ("well=A/\udce9.tif", True),
    ],
)
def test_hidden_names_empty_parts_and_broken_names_are_left_out(
    path: str, is_left_out: bool
) -> None:
    assert LeftOut().holds(path) is is_left_out


@given(paths)
def test_many_paths_at_once_give_the_same_as_single_paths(below: list[str]) -> None:
    one_by_one, at_once = LeftOut(), LeftOut()
    expected = [one_by_one.holds(path) for path in below]
    assert at_once.mask(pa.array(below, pa.string())).to_pylist() == expected
    messages = []
    for left_out in (one_by_one, at_once):
        logger = logging.Logger("test")
        handler = logging.Handler()
        handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
        logger.addHandler(handler)
        left_out.report("core", logger)
    assert len(messages) == 2 * any(expected)


def test_a_report_counts_each_kind_with_an_example(caplog: pytest.LogCaptureFixture) -> None:
    left_out = LeftOut()
    assert report(left_out, caplog) == []
    left_out.mask(pa.array(["a//b.tif", ".keep", "c/.d", "well=A/e.tif"]))
    left_out.holds("f/.g")
    (line,) = report(left_out, caplog)
    assert line.startswith("s3://core/tiles: left out ")
    assert "1 keys with an empty part (//), such as 'a//b.tif'" in line
    assert "3 hidden names (a part begins with a dot), such as '.keep'" in line
    assert line.endswith("; rename them if they are tiles")
