"""Contact between neighbouring crystals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcn.mask import Mask
from mcn.morphology.mask_stack import MaskStack

_REACH: Final = 3
"""Steps outwards within which a neighbour counts as touching, in pixels: segmented crystals that
touch are up to two pixels apart."""


def paint_crystals(masks: Sequence[Mask], height: int, width: int) -> NDArray[np.int32]:
    """Picture (H, W) of the crystal at each pixel: 0 for none, else 1 more than its number."""
    painted = np.zeros((height, width), dtype=np.int32)
    for number, mask in enumerate(masks, start=1):
        h, w = mask.pixels.shape
        painted[mask.y : mask.y + h, mask.x : mask.x + w][mask.pixels] = number
    return painted


def contact_fractions(
    stack: MaskStack, boxes: NDArray[np.integer], painted: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of each crystal's outline that touches neighbours, and that the picture's edge cuts.

    Parameters
    ----------
    stack : MaskStack
        M of the N masks.
    boxes : (N, 4) int array
        Left column, top row, columns and rows of the box of each of the N masks.
    painted : (H, W) int array
        All N masks, as `paint_crystals` draws them.

    Returns
    -------
    contact : (M,) float array
        Pixel edges with another crystal within 3 pixels straight outwards, as a share of those
        that lie inside the picture; NaN if none does.
    cut : (M,) float array
        Pixel edges on the picture's edge, as a share of all.
    """
    n_columns = stack.cells.shape[1]
    flat = stack.cells.ravel()
    height, width = painted.shape
    edges, cut, contact = (np.zeros(len(stack)) for _ in range(3))
    for down, right in ((-1, 0), (0, 1), (1, 0), (0, -1)):
        is_edge = ~flat[stack.border + down * n_columns + right]
        y, x = np.divmod(stack.border[is_edge], n_columns)
        owner = stack.owner[y]
        number = stack.order[owner]
        y = y - stack.top[owner] + boxes[number, 1]
        x = x - 1 + boxes[number, 0]
        is_touching = np.zeros(len(y), dtype=np.bool_)
        for step in range(1, _REACH + 1):
            y, x = y + down, x + right
            is_inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            if step == 1:
                is_cut = ~is_inside
            there = painted[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
            is_touching |= is_inside & (there > 0) & (there != number + 1)
        edges += np.bincount(owner, minlength=len(stack))
        cut += np.bincount(owner[is_cut], minlength=len(stack))
        contact += np.bincount(owner[is_touching], minlength=len(stack))
    with np.errstate(invalid="ignore"):
        return contact / (edges - cut), cut / edges
