"""Which crystals to return: by well, depth, shape and models, formation and area."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mcn.catalog.active_files import Depths
from mcn.catalog.depths import check_depth
from mcn.catalog.storage import CatalogQueryError

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog, Snapshot
    from mcn.catalog.wells_table.places import Box


Range = tuple[float | None, float | None]
"""Lowest and highest value, both included; None is open."""


@dataclass(frozen=True)
class Selection:
    """Which crystals to return; empty fields do not restrict.

    Parameters
    ----------
    wells, shapes : sequence of str, or a str for a single one
    depth : (float or None, float or None) or None
        Measured depths in metres, both ends included; None is open.
    segmenter, classifier : str or None
        Use the rows of these models. Names such as `compact@0123456789ab` may be shortened
        to a unique prefix. None means the latest models of each tile.
    after : (float, str) or None
        Within one well, only crystals after this depth and `crystal_id`.
    formations : sequence of str, or a str for a single one
        Only depths in these formations, according to the table of wells.
    box : Box or None
        Only wells in this area.
    columns : sequence of str, or a str for a single one, or None
        Columns of the result; None is all.
    min_confidence : float or None
        Lowest confidence, 0 to 1.
    ranges : mapping of str to Range
        Lowest and highest value of number columns, such as `{"area_px": (50, None)}`. A crystal
        whose value is unknown is not in any range.
    tile_id : str or None
        Only the crystals of this tile.
    corrected : bool
        Use the values that persons corrected, and leave out the crystals that they deleted.
    is_corrected : bool or None
        With `corrected`: only crystals that somebody has corrected, or only those that nobody has.

    Raises
    ------
    CatalogError
        If depths are reversed or not numbers, or the confidence is not from 0 to 1.
    """

    wells: Sequence[str] = ()
    depth: Depths | None = None
    shapes: Sequence[str] = ()
    segmenter: str | None = None
    classifier: str | None = None
    after: tuple[float, str] | None = None
    formations: Sequence[str] = ()
    box: Box | None = None
    columns: Sequence[str] | None = None
    min_confidence: float | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)
    tile_id: str | None = None
    corrected: bool = False
    is_corrected: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", check_depth(self.depth))
        for kind in ("wells", "shapes", "formations", "columns"):
            names = getattr(self, kind)
            if kind == "columns" and names is None:
                continue
            # A string is a sequence too: of the wells "1" and "2" if it is "12".
            names = (names,) if isinstance(names, str) else tuple(names or ())
            for name in names:
                if not isinstance(name, str):
                    raise CatalogQueryError(
                        f"{kind}: {name!r} is no name; give text: {str(name)!r}"
                    )
            object.__setattr__(self, kind, names)
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise CatalogQueryError(
                f"a confidence of {self.min_confidence:g} is impossible; give 0 to 1"
            )
        for name, (low, high) in self.ranges.items():
            ends = [end for end in (low, high) if end is not None]
            if any(not math.isfinite(end) for end in ends) or ends != sorted(ends):
                raise CatalogQueryError(
                    f"{name}: {low} to {high} is not a range; give the lower number first"
                )
        if self.is_corrected is not None and not self.corrected:
            raise CatalogQueryError("whether crystals are corrected needs corrected values")

    @property
    def needs_views(self) -> bool:
        """Whether the crystals are chosen by more than the other fields; see `corrected.views`."""
        return self.corrected or bool(self.ranges) or self.tile_id is not None

    def read_depths(self) -> Depths | None:
        """The depth range that restricts which files are read."""
        if self.after is None:
            return self.depth
        low, high = self.depth or (None, None)
        return self.after[0] if low is None else max(low, self.after[0]), high


def located(catalog: Catalog, selection: Selection, snapshot: Snapshot) -> list[Selection]:
    """The selection as selections of wells and depths, by the table of wells.

    Raises
    ------
    CatalogQueryError
        As `mcn.catalog.wells_table.places.find_intervals`.
    """
    if not (selection.formations or selection.box):
        return [selection]
    # Most questions name no place, and start sooner without what reads files of wells.
    from mcn.catalog.wells_table.places import find_intervals

    existing = {*snapshot.tiles.by_well}
    intervals = find_intervals(
        catalog, existing, selection.wells, selection.depth, selection.formations, selection.box
    )
    return [
        replace(selection, wells=each.wells, depth=each.depth, formations=(), box=None)
        for each in intervals
    ]
