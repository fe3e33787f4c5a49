"""Perturbs true masks so that they look like those of a segmenter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcn.mask import Mask

_MIN_AREA = 0.3
"""Smallest area of a perturbed mask, as a share of the true one."""


def perturb_mask(mask: Mask, height: int, width: int, rng: np.random.Generator) -> Mask:
    """Perturb the outline of a mask at random.

    The outline is grown or shrunk and made uneven: the zero line of the signed distance is
    shifted by an offset and by smooth noise. One in four masks loses a part along a straight
    line, and one in five gains a round part at its edge.

    Parameters
    ----------
    mask : Mask
        True mask, with at least one pixel.
    height, width : int
        Size of the image in pixels; the new mask stays inside.
    rng : numpy.random.Generator
        Draws the changes.

    Returns
    -------
    Mask
        One connected piece; the true mask itself if the perturbed one would be too small.
    """
    from scipy import ndimage

    area = int(mask.pixels.sum())
    radius = float(np.sqrt(area / np.pi))
    pad = int(np.ceil(0.35 * radius)) + 2
    true = np.pad(mask.pixels, pad)
    distance = ndimage.distance_transform_edt(true) - ndimage.distance_transform_edt(~true)
    unevenness = ndimage.gaussian_filter(rng.standard_normal(true.shape), 0.3 * radius + 0.5)
    unevenness *= radius * rng.uniform(0.0, 0.10) / (unevenness.std() + 1e-9)
    perturbed = distance + unevenness + rng.normal(0.0, 0.04) * radius - 0.5 > 0

    y, x = np.ogrid[: true.shape[0], : true.shape[1]]
    rows, columns = np.nonzero(true)
    if rng.random() < 0.25:
        angle = rng.uniform(0.0, 2 * np.pi)
        along = np.cos(angle) * x + np.sin(angle) * y
        limit = np.quantile(along[true], rng.uniform(0.7, 0.95))
        perturbed &= along < limit
    if rng.random() < 0.2:
        centre = rng.integers(len(rows))
        reach = radius * rng.uniform(0.25, 0.5)
        perturbed |= (y - rows[centre]) ** 2 + (x - columns[centre]) ** 2 < reach * reach
    return _largest_piece(perturbed, mask, pad, height, width)


def _largest_piece(
    perturbed: NDArray[np.bool_], mask: Mask, pad: int, height: int, width: int
) -> Mask:
    """The largest connected piece of an array that is `pad` pixels larger than `mask` all round."""
    from scipy import ndimage

    top, left = mask.y - pad, mask.x - pad
    perturbed[: max(-top, 0)] = False
    perturbed[max(height - top, 0) :] = False
    perturbed[:, : max(-left, 0)] = False
    perturbed[:, max(width - left, 0) :] = False
    pieces, count = ndimage.label(perturbed)
    if count == 0:
        return mask
    areas = np.bincount(pieces.ravel())
    largest = int(areas[1:].argmax()) + 1
    if areas[largest] < max(_MIN_AREA * mask.pixels.sum(), 1):
        return mask
    box = ndimage.find_objects(pieces)[largest - 1]
    return Mask(left + box[1].start, top + box[0].start, pieces[box] == largest)
