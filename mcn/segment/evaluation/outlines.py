"""How well the outlines and shapes of matched crystals agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mcn.mask import Mask
from mcn.morphology import measure

SHAPE_MEASURES = ("circularity", "solidity", "aspect_ratio")
_BAND = 0.02


def boundary_ious(truth: Sequence[Mask], predicted: Sequence[Mask]) -> NDArray[np.float64]:
    """Boundary IoU of N matched pairs of masks [1]_.

    The IoU of the pixels of each mask that lie within a distance of its outline: 2 % of the
    diagonal of the true crystal's box, at least one pixel. The reference takes 2 % of the image's
    diagonal, which would be most of a small crystal.

    References
    ----------
    .. [1] B. Cheng et al., "Boundary IoU", CVPR 2021.
    """
    pairs = zip(truth, predicted, strict=True)
    return np.array([_boundary_iou(true, mask) for true, mask in pairs], np.float64)


def shape_errors(
    pairs: Sequence[tuple[Sequence[Mask], Sequence[Mask]]],
) -> dict[str, float | None]:
    """Relative errors of the means of shape measures over matched pairs.

    Parameters
    ----------
    pairs : sequence of (true masks, predicted masks)
        The matched pairs of each image, in the same order.

    Returns
    -------
    dict
        By the names of `SHAPE_MEASURES`; None without pairs.
    """
    true, predicted = (
        [_shapes(masks) for masks in side if masks] for side in zip(*pairs, strict=True)
    )
    if not true:
        return dict.fromkeys(SHAPE_MEASURES)
    return {
        name: float(
            np.concatenate([shapes[name] for shapes in predicted]).mean()
            / np.concatenate([shapes[name] for shapes in true]).mean()
            - 1
        )
        for name in SHAPE_MEASURES
    }


def _shapes(masks: Sequence[Mask]) -> dict[str, NDArray[np.float64]]:
    height = max(mask.y + mask.pixels.shape[0] for mask in masks)
    width = max(mask.x + mask.pixels.shape[1] for mask in masks)
    return measure(masks, height, width, pixel_size_um=1.0)


def _boundary_iou(true: Mask, predicted: Mask) -> float:
    x, y = min(true.x, predicted.x), min(true.y, predicted.y)
    right = max(mask.x + mask.pixels.shape[1] for mask in (true, predicted))
    bottom = max(mask.y + mask.pixels.shape[0] for mask in (true, predicted))
    bands = []
    width = max(1.0, _BAND * float(np.hypot(*true.pixels.shape)))
    for mask in (true, predicted):
        canvas = np.zeros((bottom - y + 2, right - x + 2), bool)
        h, w = mask.pixels.shape
        canvas[mask.y - y + 1 : mask.y - y + 1 + h, mask.x - x + 1 : mask.x - x + 1 + w] = (
            mask.pixels
        )
        bands.append(canvas & (ndimage.distance_transform_edt(canvas) <= width))
    common, union = np.count_nonzero(bands[0] & bands[1]), np.count_nonzero(bands[0] | bands[1])
    return common / union
