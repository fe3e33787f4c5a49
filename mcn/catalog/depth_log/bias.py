"""Corrections of what a picture shows less of than there is.

- A crystal that the picture's edge cuts is not measured whole, and large crystals are cut more
  often. Those that lie inside count for the others: each by the inverse of the probability that
  a crystal of its box lies inside (`edge_weights`).
- Crystals hide parts of each other. Sizes are given for whole crystals with the visible share
  that the outline suggests (`whole_diameters`).
- A classifier is sometimes wrong. In corrected fractions a crystal counts by the probability
  that its shape is right.
- Crystals of few pixels are missed; below `resolvable_diameter` most are. This is stated, not
  corrected: nothing is known of crystals that nobody sees.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESOLVABLE_PX: Final = 16.0
"""Diameter at which about half the crystals are found, in pixels (`docs/measurements.md`)."""


def edge_weights(
    box_width: NDArray[np.number],
    box_height: NDArray[np.number],
    width: NDArray[np.number],
    height: NDArray[np.number],
    touches_edge: NDArray[np.bool_],
) -> Floats:
    """Number of crystals of the rock that each crystal inside a picture stands for.

    Parameters
    ----------
    box_width, box_height : (N,) arrays
        Size of each crystal's box in pixels.
    width, height : (N,) arrays
        Size of the analysed part of its picture in pixels.
    touches_edge : (N,) bool array

    Returns
    -------
    (N,) float array
        1 or more; 0 for crystals at the edge.

    References
    ----------
    R. E. Miles, "On the elimination of edge effects in planar sampling", in "Stochastic
    Geometry", 1974; C. Lantuéjoul, "On the estimation of mean values in individual analysis of
    particles", Microscopica Acta, Supplement 4, 1980.

    Examples
    --------
    >>> edge_weights(np.array([9, 49]), np.array([0, 0]), np.array([100, 100]),
    ...              np.array([100, 100]), np.array([False, False])).round(2).tolist()
    [1.12, 2.02]
    """
    across = np.maximum(width - box_width - 1.0, 1.0) * np.maximum(height - box_height - 1.0, 1.0)
    return np.where(touches_edge, 0.0, np.maximum(width * 1.0 * height / across, 1.0))


def whole_diameters(diameter: Floats, completeness: Floats) -> Floats:
    """Equivalent diameters of whole crystals, from those of their visible parts, (N,)."""
    return np.asarray(diameter / np.sqrt(completeness))


def resolvable_diameter(pixel_size_um: Floats) -> float:
    """Smallest crystal that can be told in all of these pictures, in µm; NaN if unknown.

    Parameters
    ----------
    pixel_size_um : (T,) float array
        Pixel size of each tile; NaN if unknown.
    """
    if not len(pixel_size_um):
        return float("nan")
    return float(resolvable_diameters(pixel_size_um, np.zeros(1, np.intp))[0])


def resolvable_diameters(pixel_size_um: Floats, first_tile: NDArray[np.intp]) -> Floats:
    """As `resolvable_diameter`, for each of several intervals, (I,).

    Parameters
    ----------
    pixel_size_um : (T,) float array
    first_tile : (I,) int array
        Index of the first tile of each interval.
    """
    return np.asarray(RESOLVABLE_PX * np.fmax.reduceat(pixel_size_um, first_tile))
