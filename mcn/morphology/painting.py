"""Masks of drawn polygons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcn.mask import Mask

Ring = Sequence[Sequence[float]]
"""Points x, y of a closed line, in pixels; the first pixel reaches from 0 to 1."""


def mask_of_polygons(polygons: Sequence[Sequence[Ring]], height: int, width: int) -> Mask:
    """The pixels whose centres are in polygons; the inverse of `mcn.morphology.outline`.

    Parameters
    ----------
    polygons : sequence of sequence of Ring
        Each an outer ring followed by its holes, as in GeoJSON.
    height, width : int
        Size of the picture; pixels outside it are cut off.

    Raises
    ------
    ValueError
        If a ring has fewer than three points, or a coordinate is not a number.
    """
    from skimage.draw import polygon as fill

    pixels = np.zeros((height, width), dtype=bool)
    for rings in polygons:
        for number, ring in enumerate(rings):
            points = np.asarray(ring, dtype=np.float64)
            if points.ndim != 2 or len(points) < 3 or points.shape[1] < 2:
                raise ValueError("a ring needs three points x, y or more")
            if not np.isfinite(points).all():
                raise ValueError("a coordinate is not a number")
            # The centre of the first pixel is at 0 for `fill`, and at 0.5 here.
            rows, columns = fill(points[:, 1] - 0.5, points[:, 0] - 0.5, (height, width))
            pixels[rows, columns] = number == 0
    if not pixels.any():
        return Mask(0, 0, np.zeros((0, 0), dtype=bool))
    ys, xs = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    y, x = int(ys[0]), int(xs[0])
    return Mask(x, y, pixels[y : int(ys[-1]) + 1, x : int(xs[-1]) + 1].copy())
