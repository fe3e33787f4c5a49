"""Ternary diagrams: the shapes of each interval of a depth log as a point in a triangle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import matplotlib
import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcn.catalog.depth_log.columns import shapes_of_log
from mcn.catalog.depth_log.uncertainty import FEW_TILES
from mcn.catalog.storage import CatalogQueryError
from mcn.fonts import drawable
from mcn.plots import INK, write_title

Floats = NDArray[np.float64]

CALCITE_CORNERS: Final = (("rhombic",), ("polyhedral",), ("amorphous", "spherical"))
"""Of the four shapes of calcite, the two anhedral ones share a corner."""

_HEIGHT: Final = math.sqrt(3) / 2
_CORNERS: Final[Floats] = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, _HEIGHT]])


def parse_corners(text: str) -> tuple[tuple[str, ...], ...]:
    """Read corners such as `"rhombic,polyhedral,amorphous+spherical"`.

    Raises
    ------
    CatalogQueryError
        If there are not three, or a shape is in two of them.
    """
    corners = tuple(tuple(part.strip() for part in corner.split("+")) for corner in text.split(","))
    shapes = [shape for corner in corners for shape in corner]
    if len(corners) != 3 or not all(shapes) or len({*shapes}) < len(shapes):
        raise CatalogQueryError(
            f"{text!r} are not three corners; write them as A,B,C, with + between shapes that "
            "share one"
        )
    return corners


def corner_shares(log: pa.Table, corners: Sequence[Sequence[str]]) -> Floats:
    """Share of each corner's shapes among the shapes of all corners.

    Parameters
    ----------
    log : pa.Table
        A depth log of N intervals.
    corners : three sequences of str
        Shapes of each corner.

    Returns
    -------
    (N, 3) float array
        Rows sum to 1; NaN for intervals without such crystals.

    Raises
    ------
    CatalogQueryError
        For shapes that the log does not have.
    """
    shapes = shapes_of_log(log)
    if unknown := [shape for corner in corners for shape in corner if shape not in shapes]:
        raise CatalogQueryError(
            f"no shape {unknown[0]!r} for a corner; use {', '.join(shapes)}, with + between "
            "shapes that share one"
        )
    columns = [sum(_floats(log, f"fraction_{shape}") for shape in corner) for corner in corners]
    sums = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
    total = sums.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0))


def ternary_figure(
    log: pa.Table,
    corners: Sequence[Sequence[str]] = CALCITE_CORNERS,
    title: str = "",
) -> Figure:
    """Draw the intervals of a depth log by their shapes, coloured by depth.

    Hollow points have fewer than 8 tiles. The line leads from each interval to the next below.

    Parameters
    ----------
    log : pa.Table
        A depth log.
    corners : three sequences of str
        Shapes of the left, right and top corner.
    title : str

    Raises
    ------
    CatalogQueryError
        As `corner_shares`, and if no interval has such crystals.
    """
    shares = corner_shares(log, corners)
    is_known = np.isfinite(shares).all(axis=1)
    if not is_known.any():
        raise CatalogQueryError("no interval has crystals of these shapes; choose other corners")
    depth = (_floats(log, "depth_top") + _floats(log, "depth_base"))[is_known] / 2
    few = _floats(log, "n_tiles")[is_known] < FEW_TILES
    points = shares[is_known] @ _CORNERS

    figure = Figure(figsize=(8, 6.4), dpi=120, layout="constrained")
    write_title(figure, title, fontsize=13)
    axes = figure.subplots()
    _draw_frame(axes, corners)
    norm = Normalize(depth.min(), max(depth.max(), depth.min() + 1e-9))
    colours = matplotlib.colormaps["viridis_r"](norm(depth))
    axes.plot(*points.T, color="#b3bac4", linewidth=0.8, zorder=2)
    filled = np.where(few[:, None], np.array([[1.0, 1.0, 1.0, 1.0]]), colours)
    axes.scatter(
        points[:, 0], points[:, 1], s=46, c=filled, edgecolors=colours, linewidths=1.6, zorder=3
    )
    bar = figure.colorbar(
        ScalarMappable(norm, "viridis_r"), ax=axes, shrink=0.6, label="Measured depth (m)"
    )
    bar.ax.invert_yaxis()
    if few.any():
        axes.text(-0.14, -0.14, "hollow: fewer than 8 tiles", fontsize=8, color=INK)
    return figure


def _draw_frame(axes: Axes, corners: Sequence[Sequence[str]]) -> None:
    axes.plot(*np.vstack([_CORNERS, _CORNERS[:1]]).T, color=INK, linewidth=1.2)
    for share in (0.2, 0.4, 0.6, 0.8):
        for corner in range(3):
            ends = np.zeros((2, 3))
            ends[:, corner] = share
            ends[0, (corner + 1) % 3] = ends[1, (corner + 2) % 3] = 1 - share
            line = ends @ _CORNERS
            axes.plot(*line.T, color="#d8dce2", linewidth=0.7, zorder=1)
            # Each scale is read along the side where its corner's share grows.
            axes.annotate(
                f"{share:.0%}",
                line[1],
                xytext=((-5, 4), (0, -10), (5, 4))[corner],
                textcoords="offset points",
                ha=("right", "center", "left")[corner],
                va="center",
                fontsize=7,
                color="#6b7480",
            )
    places = (("center", 0.0, -0.07), ("center", 1.0, -0.07), ("center", 0.5, _HEIGHT + 0.05))
    for shapes, (side, x, y) in zip(corners, places, strict=True):
        name = drawable(" + ".join(shapes))
        axes.text(x, y, name, ha=side, va="center", color=INK, fontsize=11, parse_math=False)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-0.16, 1.16)
    axes.set_ylim(-0.15, _HEIGHT + 0.1)


def _floats(log: pa.Table, name: str) -> Floats:
    column = log[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.asarray(np.nan_to_num(column))
