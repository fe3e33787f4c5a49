"""Masks stacked one below the other in a tall picture, to be measured together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcn.mask import Mask

_MAX_CELLS: Final = 2**18
"""Maximum number of cells of a stack, so that it fits in the cache for any number of masks."""


@dataclass(frozen=True, eq=False)
class MaskStack:
    """Masks of an image, stacked with a blank row and column around each.

    Parameters
    ----------
    cells : (H, W) bool array
        Blank in the first and last row and column and between masks.
    top : (M,) int array
        First row of each mask; its first column is 1.
    height : (M,) int array
        Rows of each mask.
    owner : (H,) int array
        Number of the mask in each row; blank rows have the number of the mask above.
    order : (M,) int array
        Number of each stacked mask in the original sequence.
    """

    cells: NDArray[np.bool_]
    top: NDArray[np.intp]
    height: NDArray[np.intp]
    owner: NDArray[np.intp]
    order: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.top)

    @cached_property
    def border(self) -> NDArray[np.intp]:
        """Flat index of the pixels of which one of the 4 neighbours is blank, ascending."""
        flat, n = self.cells.ravel(), self.cells.shape[1]
        inside = flat[: -2 * n] & flat[2 * n :] & flat[n - 1 : -n - 1] & flat[n + 1 : 1 - n]
        return np.add(np.flatnonzero(flat[n:-n] > inside), n)


def stack_masks(masks: Sequence[Mask]) -> Iterator[MaskStack]:
    """Stack masks of about the same width; each mask is in exactly one stack.

    Raises
    ------
    ValueError
        A mask has no pixels.
    """
    if not masks:
        return
    heights, widths = np.array([mask.pixels.shape for mask in masks], dtype=np.intp).T
    order = np.argsort(widths, kind="stable")
    first = 0
    rows = 1
    for position, number in enumerate(order):
        rows += heights[number] + 1
        if rows * (widths[number] + 2) > _MAX_CELLS and position > first:
            yield _stack(masks, order[first:position], heights)
            first = position
            rows = 1 + heights[number] + 1
    yield _stack(masks, order[first:], heights)


def _stack(masks: Sequence[Mask], order: NDArray[np.intp], heights: NDArray[np.intp]) -> MaskStack:
    height = heights[order]
    top = np.cumsum(height + 1) - height
    width = masks[order[-1]].pixels.shape[1]
    cells = np.zeros((int(top[-1] + height[-1] + 1), width + 2), dtype=np.bool_)
    for y, number in zip(top.tolist(), order.tolist(), strict=True):
        pixels = masks[number].pixels
        if not pixels.any():
            raise ValueError(f"mask {number} has no pixels")
        h, w = pixels.shape
        cells[y : y + h, 1 : 1 + w] = pixels
    owner = np.zeros(len(cells), dtype=np.intp)
    owner[1:] = np.repeat(np.arange(len(order)), height + 1)
    return MaskStack(cells, top, height, owner, order)
