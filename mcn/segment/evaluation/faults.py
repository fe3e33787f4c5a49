"""What went wrong with each crystal: missed, split, merged, ground, cut by a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcn.mask import Mask

SIZES_PX: Final = (0.0, 16.0, 48.0, 144.0, np.inf)
"""Bounds of the size classes, equivalent diameter in pixels."""
_MOSTLY: Final = 0.5
_STRAIGHT: Final = 0.5
"""Share of a box's side that a cut mask has pixels along."""
_BEYOND: Final = 0.1
"""Share of the box's side by which the true crystal reaches beyond the cut."""
_BEYOND_PX: Final = 3
"""And pixels: outlines of small crystals differ by one or two anyway."""

TRUE_KINDS: Final = ("hit", "missed", "split", "merged")
PREDICTED_KINDS: Final = ("hit", "ground", "cut", "part")


@dataclass(frozen=True, eq=False)
class Faults:
    """The kind of each true and predicted crystal of an image.

    Parameters
    ----------
    true : (T,) array of str
        `hit`, matched with an IoU above 0.5; `split`, covered by two or more predictions that lie
        in it; `merged`, lies with other true crystals in one prediction; `missed`, all others.
    predicted : (P,) array of str
        `hit`; `cut`, ends in a straight line at a side of its box beyond which the true crystal
        goes on; `ground`, mostly on background; `part`, all others, parts of crystals or several.
    """

    true: NDArray[np.str_]
    predicted: NDArray[np.str_]


def find_faults(
    truth: Sequence[Mask], predicted: Sequence[Mask], joint: NDArray[np.int64]
) -> Faults:
    """The kind of each true and predicted crystal of an image.

    Parameters
    ----------
    truth, predicted : sequence of T and of P Mask
        Each disjoint.
    joint : (T + 1, P + 1) int array
        Common pixels of true and predicted crystals; row and column 0 are the background.
    """
    common = joint[1:, 1:]
    true_area, area = joint[1:].sum(axis=1), joint[:, 1:].sum(axis=0)
    union = true_area[:, None] + area - common
    hit = common > 0.5 * union
    of_true = common / np.maximum(true_area, 1)[:, None]
    of_predicted = common / np.maximum(area, 1)
    inside = of_predicted >= _MOSTLY
    is_split = (inside.sum(axis=1) >= 2) & ((of_true * inside).sum(axis=1) >= _MOSTLY)
    contains = of_true >= _MOSTLY
    is_merged = (contains & (contains.sum(axis=0) >= 2)).any(axis=1)
    true_kinds = np.full(len(truth), "missed", "U6")
    true_kinds[is_merged] = "merged"
    true_kinds[is_split] = "split"
    true_kinds[hit.any(axis=1)] = "hit"
    kinds = np.full(len(predicted), "part", "U6")
    kinds[joint[0, 1:] > _MOSTLY * area] = "ground"
    kinds[hit.any(axis=0)] = "hit"
    for number, mask in enumerate(predicted):
        nearest = int(common[:, number].argmax()) if len(truth) else -1
        if nearest >= 0 and common[nearest, number] and _is_cut(mask, truth[nearest]):
            kinds[number] = "cut"
    return Faults(true_kinds, kinds)


def count_by_size(
    kinds: NDArray[np.str_], diameters: NDArray[np.float64], names: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Number of crystals of each kind by size class, such as `{"16-48 px": {"hit": 12, …}}`."""
    classes = np.digitize(diameters, SIZES_PX[1:-1])
    counts = {}
    for number, (low, high) in enumerate(pairwise(SIZES_PX)):
        label = f"{low:.0f}-{high:.0f} px" if np.isfinite(high) else f"{low:.0f} px and more"
        of_class = kinds[classes == number]
        counts[label] = {name: int((of_class == name).sum()) for name in names}
    return counts


def _is_cut(mask: Mask, true: Mask) -> bool:
    """Whether a mask ends in a straight line at a side of its box where the crystal goes on."""
    pixels = mask.pixels
    height, width = pixels.shape
    true_height, true_width = true.pixels.shape
    if min(height, width) < 4:
        return False
    sides = (
        (pixels[:, 0], height, mask.x - true.x, width),
        (pixels[:, -1], height, true.x + true_width - mask.x - width, width),
        (pixels[0], width, mask.y - true.y, height),
        (pixels[-1], width, true.y + true_height - mask.y - height, height),
    )
    return any(
        int(line.sum()) >= _STRAIGHT * length and beyond > max(_BEYOND * depth, _BEYOND_PX)
        for line, length, beyond, depth in sides
    )
