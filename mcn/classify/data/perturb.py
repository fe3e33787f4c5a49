"""Masks as a segmenter would have drawn them: true ones, perturbed on purpose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcn.mask import Mask

_KEPT = 0.3
"""A perturbed mask with less than this share of its crystal is given up for the true one."""


def perturb_mask(mask: Mask, height: int, width: int, rng: np.random.Generator) -> Mask:
    """Draw a mask's outline again as badly as a segmenter may.

    The outline is grown or shrunk and made to wander (the zero line of the signed distance
    is shifted by an offset and by smooth noise); one in four masks loses a piece to a
    straight cut, one in five gains a round piece of whatever lies beside it.

    Parameters
    ----------
    mask : Mask
        True mask; at least one pixel.
    height, width : int
        Size of the image, which the new mask does not leave.
    rng : numpy.random.Generator
        Where the faults are drawn from.

    Returns
    -------
    Mask
        One connected piece; the true mask itself where nothing sensible was left of it.
    """
    from scipy import ndimage

    area = int(mask.pixels.sum())
    radius = float(np.sqrt(area / np.pi))
    pad = int(np.ceil(0.35 * radius)) + 2
    true = np.pad(mask.pixels, pad)
    distance = ndimage.distance_transform_edt(true) - ndimage.distance_transform_edt(~true)
    wander = ndimage.gaussian_filter(rng.standard_normal(true.shape), 0.3 * radius + 0.5)
    wander *= radius * rng.uniform(0.0, 0.10) / (wander.std() + 1e-9)
    drawn = distance + wander + rng.normal(0.0, 0.04) * radius - 0.5 > 0

    y, x = np.ogrid[: true.shape[0], : true.shape[1]]
    rows, columns = np.nonzero(true)
    if rng.random() < 0.25:
        angle = rng.uniform(0.0, 2 * np.pi)
        along = np.cos(angle) * x + np.sin(angle) * y
        limit = np.quantile(along[true], rng.uniform(0.7, 0.95))
        drawn &= along < limit
    if rng.random() < 0.2:
        at = rng.integers(len(rows))
        reach = radius * rng.uniform(0.25, 0.5)
        drawn |= (y - rows[at]) ** 2 + (x - columns[at]) ** 2 < reach * reach
    return _largest_piece(drawn, mask, pad, height, width)


def _largest_piece(drawn: NDArray[np.bool_], mask: Mask, pad: int, height: int, width: int) -> Mask:
    """The largest connected piece of a drawing that stands `pad` pixels around `mask`."""
    from scipy import ndimage

    top, left = mask.y - pad, mask.x - pad
    drawn[: max(-top, 0)] = False
    drawn[max(height - top, 0) :] = False
    drawn[:, : max(-left, 0)] = False
    drawn[:, max(width - left, 0) :] = False
    pieces, count = ndimage.label(drawn)
    if count == 0:
        return mask
    areas = np.bincount(pieces.ravel())
    largest = int(areas[1:].argmax()) + 1
    if areas[largest] < max(_KEPT * mask.pixels.sum(), 1):
        return mask
    box = ndimage.find_objects(pieces)[largest - 1]
    return Mask(left + box[1].start, top + box[0].start, pieces[box] == largest)
