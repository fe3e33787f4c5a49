"""Pictures: crystals outlined on their micrograph, and depth logs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final

import matplotlib
import matplotlib.font_manager as font_manager
import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mcn.crystals import crystal_masks, shapes_of
from mcn.mask import Mask

SHAPE_COLOURS: Final = {
    "rhombic": "#E69F00",
    "polyhedral": "#56B4E9",
    "amorphous": "#D55E9B",
    "spherical": "#2FBF71",
}
"""A colour per shape, distinguishable for colour-blind readers and on grey micrographs.

From Okabe & Ito (2008), https://jfly.uni-koeln.de/color; the last two are brightened for grey.
"""

INK: Final = "#30343b"


def shape_colours(shapes: Sequence[str]) -> list[Any]:
    """A colour per shape: from `SHAPE_COLOURS`, or evenly spread for the shapes of other rocks."""
    spread = matplotlib.colormaps["turbo"](np.linspace(0.08, 0.92, len(shapes)))
    return [SHAPE_COLOURS.get(shape, tuple(spread[i])) for i, shape in enumerate(shapes)]


def drawable(text: str) -> str:
    """Text with a mark in place of characters that the font lacks."""
    path = font_manager.findfont(font_manager.FontProperties())
    letters = font_manager.get_font(path).get_charmap()
    return "".join(
        letter if ord(letter) in letters or letter == "\n" else "\ufffd" for letter in text
    )


def write_title(figure: Figure, title: str, **options: Any) -> None:
    """Write a figure's title literally, without math text and characters the font lacks."""
    figure.suptitle(drawable(title), color=INK, parse_math=False, **options)


def overlay_figure(
    pixels: NDArray[np.uint8],
    crystals: pa.Table,
    pixel_size_um: float | None = None,
    title: str = "",
) -> Figure:
    """Outlines of crystals on their micrograph, coloured by shape, with a scale bar.

    Parameters
    ----------
    pixels : (H, W) uint8 array
        The whole micrograph.
    crystals : pa.Table
        Columns of `mcn.crystals.classified_schema`; the legend has the shapes of its
        `p_<shape>` columns. Masks are those of an image of shape (H, W).
    pixel_size_um : float or None
        Micrometres per pixel; if None, the scale bar is in pixels.
    title : str

    Returns
    -------
    Figure
        `figure.savefig(path)` writes it, at about one pixel per pixel of the micrograph.
    """
    height, width = pixels.shape
    inches = np.clip(np.array([width, height]) / 100, 4, 24)
    figure = Figure(figsize=(inches[0], inches[0] * height / width + 0.7), dpi=100)
    axes = figure.add_axes((0, 0, 1, inches[0] * height / width / figure.get_figheight()))
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    axes.set_axis_off()
    handles = []
    shapes = shapes_of(crystals.schema)
    shape_of_crystal = crystals["shape"].to_pylist()
    outlines_of_crystal = [mask_outlines(mask) for mask in crystal_masks(crystals)]
    for shape, colour in zip(shapes, shape_colours(shapes), strict=True):
        chosen = [
            outlines
            for outlines, name in zip(outlines_of_crystal, shape_of_crystal, strict=True)
            if name == shape
        ]
        lines = list(itertools.chain.from_iterable(chosen))
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=1.1))
        handles.append(Line2D([], [], color=colour, linewidth=3, label=f"{shape} ({len(chosen)})"))
    _scale_bar(axes, width, height, pixel_size_um)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    write_title(figure, title, x=0.01, y=0.995, ha="left", va="top", fontsize=10)
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, 1 - 0.25 / figure.get_figheight()),
        ncols=len(shapes) if inches[0] >= 7 else 2,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    return figure


def mask_outlines(mask: Mask) -> list[NDArray[np.float64]]:
    """Closed lines (n, 2) of x, y just inside a mask's edge, in pixels of its micrograph.

    They lie inside so that crystals that touch do not hide each other's line.
    """
    from scipy.ndimage import binary_erosion
    from skimage.measure import find_contours

    if mask.pixels.size == 0:
        return []
    whole = np.pad(mask.pixels, 1)
    inside = binary_erosion(whole)
    shown = (inside if inside.any() else whole).astype(np.float32)
    return [line[:, ::-1] + (mask.x - 1, mask.y - 1) for line in find_contours(shown, 0.5)]


def _scale_bar(axes: Axes, width: int, height: int, pixel_size_um: float | None) -> None:
    """A bar of 1, 2 or 5 times a power of ten, about a fifth of the picture."""
    scale, unit = (pixel_size_um, "µm") if pixel_size_um else (1.0, "px")
    aim = width * scale / 5
    power = 10.0 ** math.floor(math.log10(aim))
    length = max(power * factor for factor in (1, 2, 5) if power * factor <= aim)
    text = f"{length * 1000:g} nm" if unit == "µm" and length < 1 else f"{length:g} {unit}"
    long, margin, thick = length / scale, 0.03 * width, max(2.0, 0.008 * height)
    x, y = width - margin - long, height - margin
    axes.add_patch(
        Rectangle(
            (x - margin / 2, y - 6 * thick - margin / 2),
            long + margin,
            7 * thick + margin,
            color="black",
            alpha=0.65,
            linewidth=0,
            zorder=3,
        )
    )
    axes.add_patch(Rectangle((x, y - thick), long, thick, color="white", linewidth=0, zorder=4))
    axes.annotate(
        text, (x + long / 2, y - 1.6 * thick), color="white", ha="center", va="bottom", zorder=4
    )
