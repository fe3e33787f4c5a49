"""Which wells and depths a formation or a box on the map means."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.active_files import Depths
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.wells import plain_well
from mcn.catalog.wells_table.table import read_wells, tops_of, wells_with_tiles
from mcn.errors import unknown_name

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

_IMPORT: Final = "`mcn catalog wells import CATALOG FILE`"


@dataclass(frozen=True)
class Box:
    """An area between two meridians and two parallels, edges included.

    Parameters
    ----------
    west, south, east, north : float
        Degrees of WGS 84. A box whose west is greater than its east crosses the 180th meridian,
        as in GeoJSON (RFC 7946, 5.2).

    Raises
    ------
    CatalogQueryError
        If a coordinate is out of range, or south is above north.
    """

    west: float
    south: float
    east: float
    north: float

    def __post_init__(self) -> None:
        for name, limit in (("west", 180), ("east", 180), ("south", 90), ("north", 90)):
            value = getattr(self, name)
            if not (math.isfinite(value) and -limit <= value <= limit):
                raise CatalogQueryError(
                    f"the box's {name} is {value:g}, outside {-limit} to {limit}; give degrees as "
                    "WEST,SOUTH,EAST,NORTH"
                )
        if self.south > self.north:
            raise CatalogQueryError(
                f"the box's south {self.south:g} lies above its north {self.north:g}; give "
                "degrees as WEST,SOUTH,EAST,NORTH"
            )

    def contains(self, longitude: pa.ChunkedArray, latitude: pa.ChunkedArray) -> pa.ChunkedArray:
        """Whether each place is in the box; null if it is unknown."""
        is_east = pc.greater_equal(longitude, self.west)
        is_west = pc.less_equal(longitude, self.east)
        both = pc.or_kleene if self.west > self.east else pc.and_kleene
        is_north = pc.greater_equal(latitude, self.south)
        is_south = pc.less_equal(latitude, self.north)
        return pc.and_kleene(both(is_east, is_west), pc.and_kleene(is_north, is_south))


def parse_box(text: str) -> Box:
    """Read a box such as `"50.1,24.5,51.7,26.2"`: west, south, east, north in degrees.

    Raises
    ------
    CatalogQueryError
        If the text is not four numbers, or they are no box.
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise CatalogQueryError(
            f"{text!r} is no box; give degrees as WEST,SOUTH,EAST,NORTH, such as "
            "50.1,24.5,51.7,26.2"
        ) from None
    return Box(west, south, east, north)


@dataclass(frozen=True)
class WellInterval:
    """A range of measured depths in one or several wells.

    Parameters
    ----------
    wells : tuple of str
        At least one, all with tiles.
    depth : (float or None, float or None)
        Metres, both ends included; None is open.
    """

    wells: tuple[str, ...]
    depth: Depths


def find_intervals(
    catalog: Catalog,
    existing: Set[str],
    wells: Sequence[str] = (),
    depth: Depths | None = None,
    formations: Sequence[str] = (),
    box: Box | None = None,
) -> list[WellInterval]:
    """The wells and depths that are in a box and in formations, where there are tiles.

    A formation reaches from its top down to the next top of the well, or to the end of the well
    if it is the lowest. Its base belongs to the formation below. Upper and lower case of its
    name do not matter.

    Parameters
    ----------
    catalog : Catalog
    existing : set of str
        Wells that have tiles.
    wells : sequence of str
        Restricts the wells; all if empty.
    depth : (float or None, float or None), optional
        Restricts the depths, metres.
    formations : sequence of str
        Names of formations; empty for all depths.
    box : Box, optional

    Returns
    -------
    list of WellInterval
        By well and downwards. Without formations, one for all wells. Empty if the formations lie
        outside the depths.

    Raises
    ------
    CatalogQueryError
        For a formation that no well has or none of these, and if there is no such well.
    """
    table = read_wells(catalog)
    if not table.num_rows:
        then = "" if catalog.until is None else " at that time"
        raise CatalogQueryError(
            f"{catalog.uri}: no places and formations of wells are known{then}; import them with "
            f"{_IMPORT}{', or ask for a later time' if then else ''}"
        )
    chosen = {plain_well(well) for well in wells} or set(existing)
    if unknown := sorted(chosen - existing):
        raise CatalogQueryError(
            f"{catalog.uri}: {unknown_name('well', unknown[0], sorted(existing))}"
        )
    if box is not None:
        chosen = _in_box(catalog, table, chosen, box)
    depth = depth or (None, None)
    if not formations:
        return [WellInterval(tuple(sorted(chosen)), depth)]
    rows = _tops_in_wells(catalog, tops_of(table), chosen, formations)
    intervals = [
        WellInterval((row["well"],), _common(depth, row["depth_m"], row["base_m"]))
        for row in rows.to_pylist()
    ]
    return [interval for interval in intervals if _is_possible(*interval.depth)]


def formation_depths(
    catalog: Catalog, well: str, formation: str, depth: Depths | None = None
) -> Depths:
    """The depths of a formation in a well, within others, in metres.

    Raises
    ------
    CatalogQueryError
        As `find_intervals`, and if the formation lies outside the depths.
    """
    intervals = find_intervals(catalog, wells_with_tiles(catalog), [well], depth, [formation])
    if not intervals:
        raise CatalogQueryError(
            f"formation {formation!r} of well {well!r} lies outside these depths; leave them out"
        )
    return intervals[0].depth


def top_depths(catalog: Catalog, formation: str) -> dict[str, float]:
    """Measured depth in metres of a formation's top in each well that has it.

    Raises
    ------
    CatalogQueryError
        For a formation that no well has; the message names those that exist.
    """
    tops = tops_of(read_wells(catalog))
    rows = _matching(catalog, tops, [formation])
    return dict(zip(rows["well"].to_pylist(), rows["depth_m"].to_pylist(), strict=True))


def _in_box(catalog: Catalog, table: pa.Table, wells: set[str], box: Box) -> set[str]:
    inside = pc.fill_null(box.contains(table["longitude"], table["latitude"]), False)
    chosen = wells & set(table.filter(inside)["well"].to_pylist())
    if not chosen:
        placed = pc.count(table["latitude"]).as_py()
        raise CatalogQueryError(
            f"{catalog.uri}: none of these wells with tiles is in the box ({placed} of "
            f"{table.num_rows} known wells have coordinates); give a larger one as "
            f"WEST,SOUTH,EAST,NORTH, or import places with {_IMPORT}"
        )
    return chosen


def _tops_in_wells(
    catalog: Catalog, tops: pa.Table, wells: Set[str], formations: Sequence[str]
) -> pa.Table:
    in_wells = pa.array(sorted(wells), pa.string())
    rows = _matching(catalog, tops, formations)
    rows = rows.filter(pc.is_in(rows["well"], in_wells))
    if not rows.num_rows:
        there = sorted({*tops.filter(pc.is_in(tops["well"], in_wells))["formation"].to_pylist()})
        cure = f"they have {', '.join(map(repr, there[:10]))}" if there else "they have no tops"
        raise CatalogQueryError(
            f"{catalog.uri}: none of these wells with tiles has a top of {formations[0]!r}; "
            f"{cure} (import tops with {_IMPORT})"
        )
    return rows


def _common(depth: Depths, top: float, base: float | None) -> Depths:
    low = top if depth[0] is None else max(top, depth[0])
    # The base itself belongs to the formation below.
    lowest = None if base is None else math.nextafter(base, -math.inf)
    ends = [end for end in (depth[1], lowest) if end is not None]
    return low, min(ends, default=None)


def _is_possible(low: float | None, high: float | None) -> bool:
    return low is None or high is None or low <= high


def _matching(catalog: Catalog, tops: pa.Table, formations: Sequence[str]) -> pa.Table:
    """The tops of these formations; each must exist in some well."""
    names = tops["formation"].to_pylist()
    plain_names = pa.array(map(_plain, names), pa.string())
    for formation in formations:
        if _plain(formation) not in plain_names.to_pylist():
            existing = sorted(set(names))
            cure = f"; import tops with {_IMPORT}" if not existing else ""
            raise CatalogQueryError(
                f"{catalog.uri}: {unknown_name('formation', formation, existing)}{cure}"
            )
    wanted = pa.array({_plain(formation) for formation in formations}, pa.string())
    return tops.filter(pc.is_in(plain_names, wanted))


def _plain(formation: str) -> str:
    return unicodedata.normalize("NFC", formation).strip().casefold()
