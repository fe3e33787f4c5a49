"""Tests of `mcn.catalog.depths`, and of its use by every query."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcn.catalog.correcting.label_sheet import export_labels
from mcn.catalog.depths import check_depth, parse_depth, parse_length
from mcn.catalog.export import EXPORT_FORMATS, export
from mcn.catalog.query import Selection, query
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.store import CatalogError


def refused(action) -> str:
    with pytest.raises(CatalogError) as raised:
        action()
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("1200:1250", (1200.0, 1250.0)),
        (":1250", (None, 1250.0)),
        ("1200:", (1200.0, None)),
        ("-20.5:-3", (-20.5, -3.0)),
        (" 5 : 5 ", (5.0, 5.0)),
        ("1.2e3:1250", (1200.0, 1250.0)),
        ("1200m:1250m", (1200.0, 1250.0)),
        ("1200 M : 1250 metres", (1200.0, 1250.0)),
        ("1200m:1250", (1200.0, 1250.0)),
        ("1200:1250 meters", (1200.0, 1250.0)),
        ("4000ft:4100ft", (1219.2, 1249.68)),
        ("4000 ft : 4100 ft", (1219.2, 1249.68)),
        ("4000FT:4100Feet", (1219.2, 1249.68)),
        ("4000 foot:4100 feet", (1219.2, 1249.68)),
        ("4000':4100′", (1219.2, 1249.68)),
        ("-1ft:1ft", (-0.3048, 0.3048)),
        ("4e3ft:", (1219.2, None)),
        (":4100ft", (None, 1249.68)),
        ("4000ft:1250m", (1219.2, 1250.0)),
        ("1200m:4100ft", (1200.0, 1249.68)),
    ],
)
def test_ranges(text, depth):
    assert parse_depth(text) == depth


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", " : ", "1200", "4000ft", "a:b", "1:2:3", "nan:1", "1:inf", "-inf:", "1e400:"),
        *("ft:m", "1e400ft:", "nanft:", "1,200:1,250", "1200-1250", "1200m2:", "x" * 500),
    ],
)
def test_invalid_ranges(text):
    message = refused(lambda: parse_depth(text))
    assert "write it as 1200:1250" in message
    assert len(message) < 200


@pytest.mark.parametrize("unit", ["km", "cm", "in", "fathoms", "yd", "µm", "ftm", "OO"])
def test_an_unknown_unit_is_named_with_the_known_ones(unit):
    message = refused(lambda: parse_depth(f"12{unit}:13{unit}"))
    assert "m" in message
    assert "ft" in message
    assert "write it as" in message


@pytest.mark.parametrize("text", ["4000:4100ft", "4000ft:4100", "4000':4100"])
def test_a_range_with_feet_at_one_end_only_is_ambiguous(text):
    assert "4000ft:4100ft or 4000ft:1250m" in refused(lambda: parse_depth(text))


@pytest.mark.parametrize(
    ("text", "ordered"),
    [
        ("1250:1200", "1200:1250"),
        ("4100ft:4000ft", "4000ft:4100ft"),
        ("4000ft:1200m", "1200m:4000ft"),
    ],
)
def test_a_reversed_range_is_shown_in_order(text, ordered):
    assert ordered in refused(lambda: parse_depth(text))
    assert parse_depth(ordered)[0] < parse_depth(ordered)[1]


@given(st.text(max_size=20))
def test_any_text_is_a_range_or_a_typed_error(text):
    try:
        low, high = parse_depth(text)
    except CatalogError:
        return
    assert low is None or high is None or low <= high


@given(st.decimals(-40_000, 40_000, places=2))
def test_a_foot_is_exactly_0_3048_m(feet):
    assert parse_depth(f"{feet}ft:")[0] == float(feet * Decimal("0.3048"))


UNUSABLE = [
    ((1250.0, 1200.0), "reversed"),
    ((float("nan"), 1250.0), "finite"),
    ((1200.0, float("nan")), "finite"),
    ((float("-inf"), 1250.0), "finite"),
    ((1200.0, np.inf), "finite"),
    (("1200", "1250"), "finite"),
    ("1:", "not a range"),
    ((1200.0,), "not a range"),
    ({1200.0, 1250.0}, "not a range"),
    ({1200.0: 1250.0, 1250.0: 1200.0}, "not a range"),
    ((True, 1250.0), "finite"),
    ((10**400, None), "finite"),
    (1200.0, "not a range"),
]


@pytest.mark.parametrize(("depth", "reason"), UNUSABLE)
def test_depths_are_checked_everywhere(core, tmp_path, depth, reason):
    assert reason in refused(lambda: check_depth(depth))
    assert reason in refused(lambda: Selection(depth=depth))
    assert reason in refused(lambda: query(core, ["A"], depth))
    for form in EXPORT_FORMATS:
        assert reason in refused(
            lambda form=form: export(core, tmp_path / "out", form, depth=depth)
        )
    assert reason in refused(lambda: export_labels(core, tmp_path / "labels", depth=depth))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("depth", "read"),
    [
        (None, None),
        ((None, None), (None, None)),
        ((1200, np.float32(1250)), (1200.0, 1250.0)),
        ([None, 5], (None, 5.0)),
    ],
)
def test_depths_may_be_any_number_type(depth, read):
    assert check_depth(depth) == read


def test_ranges_in_feet_select_tiles(core):
    assert query(core, ["A"], parse_depth("4000ft:4100ft")).num_rows == 15  # 1220, 1230, 1240 m


@pytest.mark.parametrize(
    ("text", "metres"), [("10", 10.0), (" 2.5 m", 2.5), ("10ft", 3.048), ("1'", 0.3048)]
)
def test_lengths_in_metres_and_feet(text: str, metres: float) -> None:
    assert parse_length(text) == metres


@pytest.mark.parametrize("text", ["", "ten", "10 km", "nan", "1:2"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(CatalogQueryError, match="write it as 10 or 10ft"):
        parse_length(text)
