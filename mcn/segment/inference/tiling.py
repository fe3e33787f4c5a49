"""Images of any size: overlapping windows for small crystals, reduced images for large ones.

Each crystal is taken from exactly one window: the one that contains its centre, at the
magnification that fits its size. Windows overlap enough to contain the whole of every crystal
that has its centre in them, so that no crystal is cut at a seam. They start at multiples of the
encoder's stride, so that it sees the same cells of pixels wherever the seams are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcn.segment.modeling.image_encoder import STRIDE

SMALLEST_WINDOW = 768
"""Minimum side of a window, pixels."""
MARGIN = 192
"""Pixels that a window extends beyond its inner part."""
LARGEST = 256
"""Longest side of a crystal taken from a window; larger ones are left to a reduced image."""
REDUCTION = 4
"""Factor by which each next image is smaller."""


@dataclass(frozen=True)
class Window:
    """A part of an image, and the crystals that are taken from it.

    Parameters
    ----------
    x, y, width, height : int
        Its position and size, pixels of the reduced image.
    inner : (float, float, float, float)
        Left, top, right, bottom within which centres must lie, pixels of the window.
    sides : (float, float)
        Range of the longest sides of crystals, pixels of the window.
    """

    x: int
    y: int
    width: int
    height: int
    inner: tuple[float, float, float, float]
    sides: tuple[float, float]


def levels(
    images: NDArray[np.uint8], window: int = 2048
) -> Iterator[tuple[int, NDArray[np.uint8], list[Window]]]:
    """Images at each magnification, with their windows.

    Parameters
    ----------
    images : (B, H, W) uint8 array
        Of any size.
    window : int
        Side of the largest image that is encoded in one piece, pixels; `SMALLEST_WINDOW` or more.

    Yields
    ------
    reduction : int
        1, 4, 16, …
    images : (B, H / reduction, W / reduction) uint8 array
        Averaged over blocks of pixels.
    windows : list of Window
        Their inner parts cover the image without overlap.
    """
    reduction, min_side = 1, 0.0
    while True:
        height, width = images.shape[1:]
        last = max(height, width) <= LARGEST
        max_side = np.inf if last else float(LARGEST)
        yield reduction, images, _tiling(height, width, (min_side, max_side), window)
        if last:
            return
        images = np.stack(
            [np.asarray(Image.fromarray(image).reduce(REDUCTION)) for image in images]
        )
        reduction *= REDUCTION
        min_side = LARGEST / REDUCTION


def window_count(height: int, width: int, window: int) -> int:
    """Number of windows that `levels` gives for an image, over all magnifications."""
    count = 0
    while True:
        count += sum(1 for _ in _steps(height, window)) * sum(1 for _ in _steps(width, window))
        if max(height, width) <= LARGEST:
            return count
        height, width = -(-height // REDUCTION), -(-width // REDUCTION)


def grey_level(image: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation, 0.001 or more, of an image, without a float copy of it."""
    counts = np.array(Image.fromarray(image).histogram(), np.float64)
    values = np.arange(256)
    mean = float(counts @ values / counts.sum())
    variance = float(counts @ (values - mean) ** 2 / counts.sum())
    return mean, max(variance**0.5, 1e-3)


def _tiling(height: int, width: int, sides: tuple[float, float], window: int) -> list[Window]:
    windows = []
    for top, bottom, y, h in _steps(height, window):
        for left, right, x, w in _steps(width, window):
            inner = (left - x, top - y, right - x, bottom - y)
            windows.append(Window(x, y, w, h, inner, sides))
    return windows


def _steps(length: int, window: int) -> Iterator[tuple[float, float, int, int]]:
    """Inner part's start and end, window's start and length, along one side of an image."""
    inner = window - 2 * MARGIN - STRIDE
    count = 1 if length <= window else -(-length // inner)
    for i in range(count):
        start, end = i * length / count, (i + 1) * length / count
        first = max(int(start) - MARGIN, 0) // STRIDE * STRIDE
        last = min(-int(-end // 1) + MARGIN, length)
        # Open at the border of the image: a centre may be proposed just outside.
        yield (
            -np.inf if i == 0 else start,
            np.inf if i == count - 1 else end,
            first,
            last - first,
        )
