"""The measures of a crystal, from its mask, in pixels and micrometres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcn.mask import Mask
from mcn.morphology.completeness import completeness
from mcn.morphology.contact import contact_fractions, paint_crystals
from mcn.morphology.mask_stack import MaskStack, stack_masks
from mcn.morphology.outline import trace_hulls, trace_outlines
from mcn.morphology.polygons import count_corners, feret_diameters, lattice_areas
from mcn.morphology.roundness import wadell_roundness

_PIXEL_AXIS: Final = 4 / math.sqrt(12)
"""Axis length of a single pixel as a unit square, in pixels."""

_CORNER_TOLERANCE: Final = 0.07
"""Distance of an outline from its simplified form, as a fraction of the equivalent diameter."""


def measure(
    masks: Sequence[Mask], height: int, width: int, pixel_size_um: float | None
) -> dict[str, NDArray[Any]]:
    """Measure all crystals of one image together.

    Definitions are those of `skimage.measure.regionprops`. The result has the form of
    `regionprops_table`, with the catalogue's column names.

    Parameters
    ----------
    masks : sequence of N Mask
        Crystals.
    height, width : int
        Size of the analysed image in pixels, without the data bar.
    pixel_size_um : float or None
        Width of a pixel in micrometres; None leaves out the columns in micrometres.

    Returns
    -------
    dict of str to (N,) array
        In the order of the masks:

        - bbox_x, bbox_y, bbox_w, bbox_h : int, left column, top row, columns and rows of the box.
        - centroid_x, centroid_y : float, mean of the pixels' coordinates, in pixels.
        - touches_edge : bool, the box reaches the border of the analysed image, so that only a
          part of the crystal is measured.
        - area_px : int, number of pixels.
        - equivalent_diameter_px : float, diameter of the disc of the same area.
        - area_um2, equivalent_diameter_um : float, the same in square micrometres and
          micrometres.
        - major_axis_um, minor_axis_um : float, axes of the ellipse with the same second
          moments; at least those of one pixel.
        - feret_max_um, feret_min_um : float, longest and shortest distance of two parallel
          lines that touch the crystal.
        - perimeter_um : float, length of the line through the centres of the border pixels, as
          `skimage.measure.perimeter` with 4 neighbours estimates it [1]_; 0 for one pixel.
        - aspect_ratio : float, major over minor axis, 1 or more.
        - circularity : float, 4π times the area over the square of the perimeter, at most 1.
        - solidity : float, area over that of the convex hull in pixels.
        - orientation_deg : float, angle of the major axis from the x axis, counter-clockwise as
          seen, in (-90, 90]; meaningless at an aspect ratio near 1.
        - corners : int, vertices of the outline after simplification to within 7 % of the
          equivalent diameter, but not below one pixel (see
          `mcn.morphology.polygons.count_corners`): 3 for a triangle, 4 for a rhomb, 6 for a
          hexagon, 8 or so for a disc.
        - contact_fraction : float, share of the outline that touches other crystals of the image
          (see `mcn.morphology.contact.contact_fractions`); NaN if all of it is on the border.
        - roundness : float, mean radius of the corners over that of the inscribed circle, after
          Wadell (see `mcn.morphology.roundness.wadell_roundness`), at most 1.
        - completeness : float, visible share of the crystal that its outline suggests (see
          `mcn.morphology.completeness.completeness`), at most 1.

    Raises
    ------
    ValueError
        A mask has no pixels, or the pixel size is not a positive number.

    References
    ----------
    .. [1] K. Benkrid, D. Crookes, "Design and FPGA implementation of a perimeter
       estimator", Proc. Irish Machine Vision and Image Processing 2000, 51-57.

    Examples
    --------
    >>> square = Mask(x=3, y=5, pixels=np.ones((20, 20), dtype=bool))
    >>> columns = measure([square], height=100, width=100, pixel_size_um=0.5)
    >>> [columns[name].item() for name in ("area_um2", "feret_min_um", "corners")]
    [100.0, 10.0, 4]
    """
    if pixel_size_um is not None and not 0 < pixel_size_um < math.inf:
        raise ValueError(f"pixel size {pixel_size_um} is not a positive number")
    if not masks:
        return {}
    boxes = np.array([(m.x, m.y, m.pixels.shape[1], m.pixels.shape[0]) for m in masks])
    painted = paint_crystals(masks, height, width)
    columns: dict[str, NDArray[Any]] = {}
    for stack in stack_masks(masks):
        for name, values in _measure_stack(stack, boxes, painted).items():
            column = columns.setdefault(name, np.empty(len(masks), dtype=values.dtype))
            column[stack.order] = values
    return _named(boxes, columns, height, width, pixel_size_um)


def _named(
    boxes: NDArray[np.int64],
    columns: dict[str, NDArray[Any]],
    height: int,
    width: int,
    pixel_size_um: float | None,
) -> dict[str, NDArray[Any]]:
    x, y, w, h = boxes.T
    area, perimeter = columns["area"], columns["perimeter"]
    diameter = np.sqrt(4 / np.pi * area)
    with np.errstate(divide="ignore"):
        circularity = np.minimum(4 * np.pi * area / perimeter**2, 1.0)
    named: dict[str, NDArray[Any]] = {
        "bbox_x": x,
        "bbox_y": y,
        "bbox_w": w,
        "bbox_h": h,
        "centroid_x": x + columns["x"],
        "centroid_y": y + columns["y"],
        "touches_edge": (x <= 0) | (y <= 0) | (x + w >= width) | (y + h >= height),
        "area_px": area,
        "equivalent_diameter_px": diameter,
        "aspect_ratio": columns["major"] / columns["minor"],
        "circularity": circularity,
        "solidity": area / columns["convex_area"],
        "orientation_deg": columns["orientation"],
        "corners": columns["corners"],
        "contact_fraction": columns["contact"],
        "roundness": columns["roundness"],
        "completeness": completeness(
            area, columns["convex_area"], columns["feret_max"], columns["cut"]
        ),
    }
    if pixel_size_um is None:
        return named
    lengths = {
        "equivalent_diameter_um": diameter,
        "major_axis_um": columns["major"],
        "minor_axis_um": columns["minor"],
        "feret_max_um": columns["feret_max"],
        "feret_min_um": columns["feret_min"],
        "perimeter_um": perimeter,
    }
    named["area_um2"] = area * pixel_size_um**2
    return named | {name: values * pixel_size_um for name, values in lengths.items()}


def _measure_stack(
    stack: MaskStack, boxes: NDArray[np.int64], painted: NDArray[np.int32]
) -> dict[str, NDArray[Any]]:
    moments = _moments(stack)
    hulls = trace_hulls(stack)
    feret_max, feret_min = feret_diameters(hulls)
    diameter = np.sqrt(4 / np.pi * moments["area"])
    tolerance = np.maximum(_CORNER_TOLERANCE * diameter, 1.0)
    outlines = trace_outlines(stack)
    contact, cut = contact_fractions(stack, boxes, painted)
    return moments | {
        "perimeter": _perimeters(stack),
        "convex_area": lattice_areas(hulls),
        "feret_max": feret_max,
        "feret_min": feret_min,
        "corners": count_corners(outlines, tolerance),
        "contact": contact,
        "cut": cut,
        "roundness": wadell_roundness(outlines),
    }


def _moments(stack: MaskStack) -> dict[str, NDArray[Any]]:
    """Area, centroid in the box, axes and orientation from sums over runs of pixels."""
    n_columns = stack.cells.shape[1]
    flat = stack.cells.ravel()
    # Blank columns on both sides keep each run within its row.
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    row, begin = np.divmod(changes[::2], n_columns)
    n = changes[1::2] - changes[::2]
    begin, y = begin - 1, row - stack.top[stack.owner[row]]
    end = begin + n
    sum_x = (begin + end - 1) * n // 2
    sum_xx = _squares_below(end) - _squares_below(begin)
    first_run = np.searchsorted(row, stack.top)
    area, x1, y1, xx, yy, xy = (
        np.add.reduceat(values, first_run)
        for values in (n, sum_x, n * y, sum_xx, n * y * y, sum_x * y)
    )
    mean_x, mean_y = x1 / area, y1 / area
    var_x, var_y = xx / area - mean_x**2, yy / area - mean_y**2
    cov = xy / area - mean_x * mean_y
    mean, half = (var_x + var_y) / 2, np.hypot((var_x - var_y) / 2, cov)
    # Rows run downwards, angles upwards.
    angle = np.degrees(np.arctan2(-2 * cov, var_x - var_y)) / 2
    return {
        "area": area,
        "x": mean_x,
        "y": mean_y,
        "major": np.maximum(4 * np.sqrt(mean + half), _PIXEL_AXIS),
        "minor": np.maximum(4 * np.sqrt(np.maximum(mean - half, 0)), _PIXEL_AXIS),
        "orientation": np.where(angle <= -90, 90.0, angle),
    }


def _squares_below(k: NDArray[np.intp]) -> NDArray[np.intp]:
    """Sum of the squares of 0, 1, …, k - 1."""
    return (k - 1) * k * (2 * k - 1) // 6


def _perimeters(stack: MaskStack) -> NDArray[np.float64]:
    """Perimeters in pixels, from the neighbours that each border pixel has on the border."""
    n = stack.cells.shape[1]
    is_border = np.zeros(stack.cells.size, dtype=np.uint8)
    is_border[stack.border] = 1
    kind = np.zeros(len(stack.border), dtype=np.intp)
    for weight, steps in ((2, (-n, -1, 1, n)), (10, (-n - 1, 1 - n, n - 1, n + 1))):
        for step in steps:
            kind += weight * is_border[stack.border + step]
    owner = stack.owner[stack.border // n]
    return np.bincount(owner, weights=_STEPS[kind], minlength=len(stack)).astype(np.float64)


def _steps() -> NDArray[np.float64]:
    """Length per border pixel, indexed by 2 for each edge neighbour and 10 for each diagonal."""
    steps = np.zeros(49)
    steps[[4, 6, 14, 16, 24, 26]] = 1
    steps[[20, 32]] = math.sqrt(2)
    steps[[12, 22]] = (1 + math.sqrt(2)) / 2
    return steps


_STEPS: Final = _steps()
