"""A heap of crystals as seen from above: the visible crystal and the height at each pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcn.errors import McnError
from mcn.synthetic.crystals import Relief


class RenderError(McnError):
    """Settings from which nothing can be rendered."""


class Heap:
    """Crystals dropped one by one onto a floor.

    Parameters
    ----------
    floor : (H, W) float32 array
        Height of the floor in pixels; changed in place.

    Attributes
    ----------
    heights : (H, W) float32 array
        Height of the visible surface, in pixels.
    owner : (H, W) int32 array
        The visible crystal: 0 the floor, n the n-th crystal dropped.
    """

    def __init__(self, floor: NDArray[np.float32]) -> None:
        self.heights = floor
        self.owner = np.zeros(floor.shape, dtype=np.int32)
        self._shapes: list[str] = []
        self._inside: list[int] = []  # pixels of each silhouette that lie in the picture
        self._whole: list[int] = []

    def __len__(self) -> int:
        return len(self._shapes)

    def drop(self, shape: str, relief: Relief, y: int, x: int, rest: float) -> int:
        """Set a crystal down with its centre at row `y`, column `x`.

        Parameters
        ----------
        shape : str
            One of `mcn.taxonomy.SHAPES`.
        relief : Relief
        y, x : int
            May lie outside the picture.
        rest : float
            Height at which it comes to rest, between the mean (0) and the highest (1) of the
            points where it would touch the surface below. Below 1 neighbours grow into each
            other, below 0 they interlock.

        Returns
        -------
        int
            Number of visible floor pixels that it hides.
        """
        h, w = relief.top.shape
        top, left = y - h // 2, x - w // 2
        rows = slice(max(top, 0), min(top + h, self.heights.shape[0]))
        columns = slice(max(left, 0), min(left + w, self.heights.shape[1]))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return 0
        box = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        inside = relief.silhouette[box]
        area = int(np.count_nonzero(inside))
        if area == 0:
            return 0
        below, owner = self.heights[rows, columns], self.owner[rows, columns]
        contact = (below - relief.bottom[box])[inside]
        surface = relief.top[box] + ((1.0 - rest) * contact.mean() + rest * contact.max())
        seen = inside & (surface > below)
        covered = int(np.count_nonzero(seen & (owner == 0)))
        self._shapes.append(shape)
        self._inside.append(area)
        self._whole.append(int(np.count_nonzero(relief.silhouette)))
        np.copyto(below, surface, where=seen)
        np.copyto(owner, len(self._shapes), where=seen)
        return covered

    def instances(
        self, min_area_px: int, min_visible: float
    ) -> tuple[NDArray[np.uint16], tuple[str, ...], NDArray[np.float32]]:
        """The crystals that are visible enough to count.

        If others divide a crystal into pieces, the largest piece (4-connected) is the
        instance.

        Parameters
        ----------
        min_area_px : int
            Minimum area of an instance.
        min_visible : float
            Minimum area of an instance as a share of its silhouette within the picture.

        Returns
        -------
        labels : (H, W) uint16 array
            0 for none, n for the n-th instance.
        shapes : tuple of str
            Shape of each instance.
        visible_fraction : (n,) float32 array
            Area of each instance as a fraction of its whole silhouette, including the parts
            that are hidden or outside the picture.

        Raises
        ------
        RenderError
            There are more than 65 535 instances.
        """
        from skimage import measure

        pieces: NDArray[np.integer] = measure.label(self.owner, background=0, connectivity=1)
        areas = np.bincount(pieces.ravel())
        areas[0] = 0
        crystal = np.zeros(len(areas), dtype=np.int64)
        crystal[pieces.ravel()] = self.owner.ravel()
        # Written in order of area, so that the largest piece of a crystal stays.
        order = np.argsort(areas, kind="stable")
        largest = np.zeros(len(self) + 1, dtype=np.int64)
        largest[crystal[order]] = order
        share = areas[largest] / np.array([1, *self._inside])
        good = (areas[largest] >= min_area_px) & (areas[largest] > 0) & (share >= min_visible)
        good[0] = False
        kept = np.flatnonzero(good)
        if len(kept) > np.iinfo(np.uint16).max:
            raise RenderError(
                f"cannot label {len(kept)} crystals in 16 bits: "
                "render a smaller tile, or larger crystals"
            )
        names = np.zeros(len(areas), dtype=np.uint16)
        names[largest[kept]] = np.arange(1, len(kept) + 1)
        shapes = tuple(self._shapes[i - 1] for i in kept)
        visible = areas[largest] / np.array([1, *self._whole])
        return names[pieces], shapes, visible[kept].astype(np.float32)
