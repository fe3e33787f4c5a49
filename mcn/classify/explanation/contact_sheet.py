"""A sheet of the crystals that a classifier is most and least sure of, with heat maps."""

from __future__ import annotations

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
"""Most of the surest, and most of the least sure, crystals of a shape on a sheet."""

_INK = "#30343b"
_PAIR, _ROW, _GAP = 2.12, 1.34, 0.35  # in sides of a crop; the gap parts surest from least sure


def contact_sheet(
    classifier: CropClassifier,
    crystals: pa.Table,
    crops: NDArray[np.uint8],
    title: str = "",
) -> Figure:
    """The most and the least confident crystals of each shape: crop beside heat map.

    Parameters
    ----------
    classifier : CropClassifier
        The one that named the crystals.
    crystals : pa.Table of schema `mcn.crystals.classified_schema`, N rows
    crops : (N, 64, 64) uint8 array
        What the classifier saw of them.
    title : str

    Returns
    -------
    Figure
        A row a shape, six pairs a row, the most confident first.

    Raises
    ------
    CropError
        If the crops have another size or type.
    """
    shapes = classifier.taxonomy.shapes
    chosen = {shape: surest_and_least_sure(crystals, shape) for shape in shapes}
    shown = [number for numbers in chosen.values() for part in numbers for number in part]
    shape_of, confidence = crystals["shape"].to_pylist(), crystals["confidence"].to_pylist()
    maps = explain(classifier, crops[shown], [shapes.index(shape_of[i]) for i in shown])
    heat = dict(zip(shown, maps, strict=True))

    width, height = 2 * EACH * _PAIR + _GAP, len(shapes) * _ROW
    figure = Figure(figsize=(width + 0.2, height + 0.75), dpi=110)
    w, h = figure.get_size_inches()
    axes = figure.add_axes((0.1 / w, 0.1 / h, width / w, height / h))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()
    right = EACH * _PAIR + _GAP
    colours = dict(zip(shapes, shape_colours(shapes), strict=True))
    for row, (shape, (surest, least)) in enumerate(chosen.items()):
        top = row * _ROW + _ROW - 1.06
        if not surest:
            axes.text(0, top + 0.5, f"no {shape} crystal", color=_INK, fontsize=9)
        for left, numbers in ((0.0, surest), (right, least)):
            for place, number in enumerate(numbers):
                x = left + place * _PAIR
                _draw(axes, x, top, crops[number], heat[number])
                axes.text(
                    x,
                    top - 0.05,
                    f"{shape} {confidence[number]:.2f}",
                    color=_INK,
                    fontsize=9,
                    bbox={"facecolor": colours[shape], "alpha": 0.35, "lw": 0, "pad": 1.5},
                )
    for left, words in ((0.0, "most confident"), (right, "least confident")):
        axes.text(left, 0.02, words, color=_INK, fontsize=10, fontweight="bold")
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
    return figure


def surest_and_least_sure(
    crystals: pa.Table, shape: str, each: int = EACH
) -> tuple[list[int], list[int]]:
    """Places of a shape's most and least confident crystals, none in both.

    Parameters
    ----------
    crystals : pa.Table
        With the columns `shape` and `confidence`.
    shape : str
    each : int
        Most of either.

    Returns
    -------
    surest, least_sure : list of int
        Either in falling order of confidence; of few crystals, half each.
    """
    confidence = crystals["confidence"].to_numpy()
    of_shape = np.flatnonzero(pc.equal(crystals["shape"], shape).to_numpy())
    numbers = of_shape[np.argsort(-confidence[of_shape], kind="stable")].tolist()
    surest = numbers[: min(each, -(-len(numbers) // 2))]
    return surest, numbers[len(surest) :][-each:]


def _draw(
    axes: Axes, x: float, y: float, crop: NDArray[np.uint8], heat: NDArray[np.float32]
) -> None:
    for left in (x, x + 1.02):
        axes.imshow(crop, cmap="gray", vmin=0, vmax=255, extent=(left, left + 1, y + 1, y))
    axes.imshow(
        heat, cmap="inferno", vmin=0, vmax=1, alpha=0.6, extent=(x + 1.02, x + 2.02, y + 1, y)
    )
