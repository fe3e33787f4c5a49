"""Pyramids: a picture at halved sizes, from which any region is cut at any smaller size quickly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SMALLEST: Final = 256


@dataclass(frozen=True)
class Region:
    """A rectangle of a picture, and the size at which it is wanted, in pixels."""

    x: int
    y: int
    width: int
    height: int
    out_width: int
    out_height: int


class Pyramid:
    """A grey picture and its halves, quarters, …, the last at most 256 pixels wide and high.

    Parameters
    ----------
    pixels : (H, W) uint8 array
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        from PIL import Image

        levels = [pixels]
        while max(levels[-1].shape) > _SMALLEST:
            # Means of 2×2 pixels; an odd edge is the mean of what there is.
            levels.append(np.asarray(Image.fromarray(levels[-1]).reduce(2)))
        self._levels = levels

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the picture."""
        height, width = self._levels[0].shape
        return height, width

    @property
    def nbytes(self) -> int:
        """Memory of all levels: a third more than the picture's."""
        return sum(level.nbytes for level in self._levels)

    def cut(self, region: Region) -> NDArray[np.uint8]:
        """A region at the wanted size, from the smallest level that is as fine.

        Parameters
        ----------
        region : Region
            Inside the picture; its wanted size is at most its own.

        Returns
        -------
        (out_height, out_width) uint8 array
        """
        from PIL import Image

        shrink = min(region.width / region.out_width, region.height / region.out_height)
        depth = min(max(0, math.floor(math.log2(shrink) + 1e-9)), len(self._levels) - 1)
        level = self._levels[depth]
        factor = 2**depth
        left, top = region.x / factor, region.y / factor
        right = min(level.shape[1], (region.x + region.width) / factor)
        bottom = min(level.shape[0], (region.y + region.height) / factor)
        x, y = math.floor(left), math.floor(top)
        part = level[y : math.ceil(bottom), x : math.ceil(right)]
        size = (region.out_width, region.out_height)
        if part.shape == size[::-1] and (left, top) == (x, y):
            return part
        box = (left - x, top - y, right - x, bottom - y)
        resized = Image.fromarray(part).resize(size, Image.Resampling.BILINEAR, box=box)
        return np.asarray(resized)
