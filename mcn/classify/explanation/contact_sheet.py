"""A sheet of the most and least confident crystals of each shape, with heat maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcn.classify.classifier import CropClassifier
from mcn.classify.explanation.grad_cam import explain
from mcn.plots import shape_colours, write_title

EACH = 3
"""Maximum number of most confident crystals per shape, and of least confident ones."""

_INK = "#30343b"
_PAIR, _ROW, _GAP = 2.12, 1.34, 0.35  # in sides of a crop
_RIGHT_X = EACH * _PAIR + _GAP
"""Left end of the least confident crystals."""


def contact_sheet(
    classifier: CropClassifier,
    crystals: pa.Table,
    crops: NDArray[np.uint8],
    title: str = "",
) -> Figure:
    """Draw the most and the least confident crystals of each shape: crop beside heat map.

    Parameters
    ----------
    classifier : CropClassifier
        The classifier that named the crystals.
    crystals : pa.Table of schema `mcn.crystals.classified_schema`, N rows
    crops : (N, 64, 64) uint8 array
        Crops of the crystals.
    title : str

    Returns
    -------
    Figure
        One row per shape with up to six pairs, the most confident first.

    Raises
    ------
    CropError
        If the crops have another size or type.
    """
    shapes = classifier.taxonomy.shapes
    chosen = {shape: most_and_least_confident(crystals, shape) for shape in shapes}
    rows = [row for both in chosen.values() for part in both for row in part]
    shape_of, confidence = crystals["shape"].to_pylist(), crystals["confidence"].to_pylist()
    maps = explain(classifier, crops[rows], [shapes.index(shape_of[row]) for row in rows])
    heat = dict(zip(rows, maps, strict=True))

    width, height = 2 * EACH * _PAIR + _GAP, len(shapes) * _ROW
    figure = Figure(figsize=(width + 0.2, height + 0.75), dpi=110)
    w, h = figure.get_size_inches()
    axes = figure.add_axes((0.1 / w, 0.1 / h, width / w, height / h))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    colours = dict(zip(shapes, shape_colours(shapes), strict=True))
    for number, (shape, (most, least)) in enumerate(chosen.items()):
        y = number * _ROW + _ROW - 1.06
        if not most:
            axes.text(0, y + 0.5, f"no {shape} crystal", color=_INK, fontsize=9)
        for left, part in ((0.0, most), (_RIGHT_X, least)):
            for column, row in enumerate(part):
                x = left + column * _PAIR
                _draw_pair(axes, x, y, crops[row], heat[row])
                _draw_label(axes, x, y - 0.05, f"{shape} {confidence[row]:.2f}", colours[shape])
    _draw_headings(figure, axes, title)
    return figure


def _draw_pair(
    axes: Axes, x: float, y: float, crop: NDArray[np.uint8], heat: NDArray[np.float32]
) -> None:
    """Draw a crop, and to its right the crop again with its heat map."""
    for left in (x, x + 1.02):
        axes.imshow(crop, cmap="gray", vmin=0, vmax=255, extent=(left, left + 1, y + 1, y))
    axes.imshow(
        heat, cmap="inferno", vmin=0, vmax=1, alpha=0.6, extent=(x + 1.02, x + 2.02, y + 1, y)
    )


def _draw_label(axes: Axes, x: float, y: float, text: str, colour: Any) -> None:
    box = {"facecolor": colour, "alpha": 0.35, "lw": 0, "pad": 1.5}
    axes.text(x, y, text, color=_INK, fontsize=9, bbox=box)


def _draw_headings(figure: Figure, axes: Axes, title: str) -> None:
    for x, text in ((0.0, "most confident"), (_RIGHT_X, "least confident")):
        axes.text(x, 0.02, text, color=_INK, fontsize=10, fontweight="bold")
    w, h = figure.get_size_inches()
    write_title(figure, title, x=0.1 / w, y=1 - 0.08 / h, ha="left", va="top", fontsize=10)
    figure.text(
        0.1 / w,
        1 - 0.34 / h,
        "Left: the crop as the classifier sees it. Right: where the evidence for that shape lies, "
        "yellow where it is strongest in the crop.",
        va="top",
        fontsize=9,
        color=_INK,
    )


def most_and_least_confident(
    crystals: pa.Table, shape: str, each: int = EACH
) -> tuple[list[int], list[int]]:
    """Rows of a shape's most and least confident crystals; no row is in both.

    Parameters
    ----------
    crystals : pa.Table
        With the columns `shape` and `confidence`.
    shape : str
    each : int
        Maximum number of each.

    Returns
    -------
    most, least : list of int
        In descending order of confidence; if there are few crystals, half of them each.
    """
    confidence = crystals["confidence"].to_numpy()
    of_shape = np.flatnonzero(pc.equal(crystals["shape"], shape).to_numpy())
    rows = of_shape[np.argsort(-confidence[of_shape], kind="stable")].tolist()
    most = rows[: min(each, -(-len(rows) // 2))]
    return most, rows[len(most) :][-each:]
