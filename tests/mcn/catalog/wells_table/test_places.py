"""Formations and boxes give the wells and depths that a geologist means."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.store import Catalog
from mcn.catalog.wells_table.places import Box, WellInterval, find_intervals, parse_box, top_depths
from mcn.catalog.wells_table.table import import_wells

EXISTING = {"A", "B", "C"}


@pytest.fixture
def known(catalog: Catalog, tmp_path: Path) -> Catalog:
    (tmp_path / "wells.csv").write_text("well,lat,lon\nA,24.5,50\nB,-10,179.5\nC,,\nD,24.6,50\n")
    (tmp_path / "tops.csv").write_text(
        "well,formation,depth_m\nA,Arab-D,1250\nA,Jubaila,1300\nB,Jubaila,40\nD,Khuff,7\n"
    )
    import_wells(catalog, [str(tmp_path / "wells.csv"), str(tmp_path / "tops.csv")])
    return catalog


def before(base: float) -> float:
    return math.nextafter(base, -math.inf)


def test_a_formation_ends_above_the_next_top(known: Catalog) -> None:
    assert find_intervals(known, EXISTING, formations=["arab-d"]) == [
        WellInterval(("A",), (1250.0, before(1300.0)))
    ]
    assert find_intervals(known, EXISTING, formations=["Jubaila"]) == [
        WellInterval(("A",), (1300.0, None)),
        WellInterval(("B",), (40.0, None)),
    ]


def test_depths_and_wells_restrict_formations(known: Catalog) -> None:
    of_a = {"wells": ["A"], "formations": ["Arab-D", "Jubaila"]}
    assert find_intervals(known, EXISTING, depth=(1260.0, 1310.0), **of_a) == [
        WellInterval(("A",), (1260.0, before(1300.0))),
        WellInterval(("A",), (1300.0, 1310.0)),
    ]
    assert find_intervals(known, EXISTING, depth=(None, 1000.0), **of_a) == []


def test_a_box_chooses_wells_with_tiles(known: Catalog) -> None:
    near = find_intervals(known, EXISTING, box=parse_box("49, 24, 51, 25"))
    assert near == [WellInterval(("A",), (None, None))]
    across = find_intervals(known, EXISTING, box=Box(170, -20, -170, 0))
    assert across == [WellInterval(("B",), (None, None))]


def test_tops_by_well(known: Catalog) -> None:
    assert top_depths(known, "JUBAILA") == {"A": 1300.0, "B": 40.0}


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"formations": ["Arab D"]}, "no formation 'Arab D'; did you mean 'Arab-D'?"),
        ({"formations": ["Khuff"]}, "none of these wells with tiles has a top of 'Khuff'; they"),
        ({"formations": ["Khuff"], "wells": ["C"]}, "they have no tops (import"),
        ({"formations": ["Jubaila"], "wells": ["a"]}, "no well 'a'"),
        ({"box": Box(0, 0, 1, 1)}, "none of these wells with tiles is in the box (3 of 4 known"),
    ],
)
def test_what_is_unknown_is_named(known: Catalog, question: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(CatalogQueryError, match=re.escape(message)) as error:
        find_intervals(known, EXISTING, **question)
    assert "\n" not in str(error.value)


def test_without_imports_the_cure_is_named(catalog: Catalog) -> None:
    with pytest.raises(CatalogQueryError, match=r"mcn catalog wells import CATALOG FILE"):
        find_intervals(catalog, EXISTING, formations=["Arab-D"])
    with pytest.raises(CatalogQueryError, match=r"none yet; import tops with"):
        top_depths(catalog, "Arab-D")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3", "'1,2,3' is no box; give degrees as WEST,SOUTH,EAST,NORTH"),
        ("a,b,c,d", "is no box"),
        ("0,10,1,5", "the box's south 10 lies above its north 5"),
        ("0,-91,1,5", "the box's south is -91, outside -90 to 90"),
        ("nan,0,1,5", "the box's west is nan"),
        ("0,0,361,5", "the box's east is 361, outside -180 to 180"),
    ],
)
def test_impossible_boxes(text: str, message: str) -> None:
    with pytest.raises(CatalogQueryError, match=re.escape(message)):
        parse_box(text)
