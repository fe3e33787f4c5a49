"""Which crystals a question is about, and the condition in SQL that this is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from mcn.catalog.active_files import Depths, files
from mcn.catalog.depths import check_depth
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.wells_table.places import Box, find_intervals
from mcn.errors import unknown_name

if TYPE_CHECKING:
    import duckdb

    from mcn.catalog.store import Catalog, Snapshot

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
    ranges : mapping of str to Range
        Lowest and highest value of number columns, such as `{"confidence": (0.5, None)}`. A
        crystal whose value is unknown is not in any range.
    tile_id : str or None
        Only the crystals of this tile.
    corrected : bool
        Use the values that persons corrected, and leave out the crystals that they deleted.
    is_corrected : bool or None
        With `corrected`: only crystals that somebody has corrected, or only those that nobody has.

    Raises
    ------
    CatalogError
        If depths or ranges are reversed or not numbers.
    """

    wells: Sequence[str] = ()
    depth: Depths | None = None
    shapes: Sequence[str] = ()
    segmenter: str | None = None
    classifier: str | None = None
    after: tuple[float, str] | None = None
    formations: Sequence[str] = ()
    box: Box | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)
    tile_id: str | None = None
    corrected: bool = False
    is_corrected: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", check_depth(self.depth))
        for kind in ("wells", "shapes", "formations"):
            names = getattr(self, kind)
            # A string is a sequence too: of the wells "1" and "2" if it is "12".
            names = (names,) if isinstance(names, str) else tuple(names or ())
            for name in names:
                if not isinstance(name, str):
                    raise CatalogQueryError(
                        f"{kind}: {name!r} is no name; give text: {str(name)!r}"
                    )
            object.__setattr__(self, kind, names)
        for name, (low, high) in self.ranges.items():
            ends = [end for end in (low, high) if end is not None]
            if any(not math.isfinite(end) for end in ends) or ends != sorted(ends):
                raise CatalogQueryError(
                    f"{name}: {low} to {high} is not a range; give the lower number first"
                )
        if self.is_corrected is not None and not self.corrected:
            raise CatalogQueryError("whether crystals are corrected needs corrected values")

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
    existing = {*files(snapshot.tiles)["partition.well"].to_pylist()}
    intervals = find_intervals(
        catalog, existing, selection.wells, selection.depth, selection.formations, selection.box
    )
    return [
        replace(selection, wells=each.wells, depth=each.depth, formations=(), box=None)
        for each in intervals
    ]


def check_columns(selection: Selection, shapes: Sequence[str], schema: pa.Schema) -> None:
    """Check the shapes and columns that a selection names.

    Raises
    ------
    CatalogQueryError
        For names that do not exist, and ranges of columns that are not numbers.
    """
    if unknown := [shape for shape in selection.shapes if shape not in shapes]:
        raise CatalogQueryError(unknown_name("shape", unknown[0], shapes))
    numbers = number_columns(schema)
    if unknown := [name for name in selection.ranges if name not in numbers]:
        raise CatalogQueryError(unknown_name("number column", unknown[0], numbers))


def number_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns of numbers."""
    return [
        column.name
        for column in schema
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    ]


def select(
    connection: duckdb.DuckDBPyConnection,
    selection: Selection,
    limit: int | None,
    schema: pa.Schema,
    order: str = "well, depth_m, crystal_id",
) -> pa.Table:
    """Rows of the view `crystals` in order; its files already restrict the wells.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        From `mcn.catalog.query.open_views`.
    selection : Selection
        Checked by `check_columns`.
    limit : int or None
        Maximum number of rows.
    schema : pa.Schema
        Columns of the result.
    order : str
        SQL after ORDER BY.
    """
    low, high = selection.depth or (None, None)
    depth, crystal = selection.after or (None, None)
    possible: list[tuple[str, str, object]] = [
        ("depth_m >= $depth", "depth", depth),
        ("(depth_m > $depth OR crystal_id > $crystal)", "crystal", crystal),
        ("depth_m >= $low", "low", low),
        ("depth_m <= $high", "high", high),
        ("list_contains($shapes, shape)", "shapes", list(selection.shapes) or None),
        ("tile_id = $tile_id", "tile_id", selection.tile_id),
        (
            "(correction IS NOT NULL) = $is_corrected",
            "is_corrected",
            selection.is_corrected,
        ),
    ]
    for number, (name, ends) in enumerate(selection.ranges.items()):
        for sign, letter, end in zip((">=", "<="), "ab", ends, strict=True):
            possible.append((f'"{name}" {sign} ${letter}{number}', f"{letter}{number}", end))
    conditions = ["true", *(text for text, _, value in possible if value is not None)]
    rows = connection.sql(
        f"SELECT {', '.join(schema.names)} FROM crystals WHERE {' AND '.join(conditions)} "
        f"ORDER BY {order} {'' if limit is None else f'LIMIT {limit:d}'}",
        params={name: value for _, name, value in possible if value is not None},
    )
    return rows.to_arrow_table().cast(schema)
