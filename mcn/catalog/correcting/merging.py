"""One crystal of several: parts that a segmenter took for crystals of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from mcn.mask import Mask

_GAP: Final = 0.5
_GAP_PX: Final = 8.0
"""Widest gap between parts of one crystal: a share of the smaller part's length, or pixels."""


def are_neighbours(crystals: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the boxes of crystals, as rows of a tile, form a chain with narrow gaps."""
    from scipy.sparse.csgraph import connected_components

    corners = np.array([(row["bbox_x"], row["bbox_y"]) for row in crystals])
    sides = np.array([(row["bbox_w"], row["bbox_h"]) for row in crystals])
    ends = corners + sides
    gaps = (np.maximum(corners[:, None], corners) - np.minimum(ends[:, None], ends)).max(axis=2)
    sizes = sides.max(axis=1)
    near = gaps <= np.maximum(_GAP * np.minimum(sizes[:, None], sizes), _GAP_PX)
    return bool(connected_components(near, directed=False, return_labels=False) == 1)


def union(masks: Sequence[Mask]) -> Mask:
    """The pixels of any of the masks."""
    x, y = min(mask.x for mask in masks), min(mask.y for mask in masks)
    right = max(mask.x + mask.pixels.shape[1] for mask in masks)
    bottom = max(mask.y + mask.pixels.shape[0] for mask in masks)
    pixels = np.zeros((bottom - y, right - x), dtype=bool)
    for mask in masks:
        h, w = mask.pixels.shape
        pixels[mask.y - y : mask.y - y + h, mask.x - x : mask.x - x + w] |= mask.pixels
    return Mask(x, y, pixels)
