"""Crops for the classifier: the pixels of each crystal on black, resized to a square."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcn.crystals import CROP_SIZE
from mcn.errors import McnError
from mcn.mask import Mask

_BATCH_PX = 2**20  # pixels of padded boxes that are resized at once


class CropError(McnError):
    """A mask that cannot be cut out of its image, or crops of the wrong size or type."""


def cut_crops(
    image: NDArray[np.uint8], masks: Sequence[Mask], size: int = CROP_SIZE
) -> NDArray[np.uint8]:
    """Cut every crystal out of its micrograph.

    Pixels outside the mask are black and the box of the mask is stretched to the square, as
    apparently in the source paper [1]_; keeping the aspect ratio did not improve the
    classification of rendered shapes. Shrinking averages (with a triangle filter as wide as the
    step), so that fine noise does not alias; enlarging is bilinear. The result equals Pillow's
    `BILINEAR` to within a grey level, but many boxes are resized at once.

    Parameters
    ----------
    image : (H, W) uint8 array
        Grey micrograph.
    masks : sequence of N Mask
        Crystals, each completely inside the image.
    size : int
        Side of the crops in pixels.

    Returns
    -------
    (N, size, size) uint8 array
        In the order of `masks`; black outside the crystal.

    Raises
    ------
    CropError
        If a mask is empty or reaches outside the image.

    References
    ----------
    .. [1] Yaqoob et al., "MicroCrystalNet", IEEE Access, 2025,
       doi:10.1109/ACCESS.2025.3552626.

    Examples
    --------
    >>> image = np.full((40, 60), 200, dtype=np.uint8)
    >>> cut_crops(image, [Mask(10, 5, np.ones((8, 16), dtype=bool))]).shape
    (1, 64, 64)
    """
    _check(image, masks)
    crops = np.zeros((len(masks), size, size), dtype=np.uint8)
    if not masks:
        return crops
    sides = np.array([mask.pixels.shape for mask in masks])
    # A batch has boxes of similar size, so that padding them to the largest costs little.
    bins = np.ceil(3 * np.log2(sides.max(axis=1)))
    order = np.argsort(bins, kind="stable")
    borders = np.flatnonzero(np.diff(bins[order])) + 1
    for members in np.split(order, borders):
        largest = sides[members].max(axis=0)
        step = max(1, int(_BATCH_PX // largest.prod()))
        for start in range(0, len(members), step):
            rows = members[start : start + step]
            crops[rows] = _cut_batch(image, [masks[row] for row in rows], largest, size)
    return crops


def _cut_batch(
    image: NDArray[np.uint8], masks: Sequence[Mask], largest: NDArray[np.int64], size: int
) -> NDArray[np.float32]:
    """Crops (N, size, size) of masks whose boxes are at most `largest` (h, w) pixels."""
    sides = np.array([mask.pixels.shape for mask in masks])
    boxes = np.zeros((len(masks), *largest), dtype=np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        h, w = mask.pixels.shape
        pixels = image[mask.y : mask.y + h, mask.x : mask.x + w]
        np.multiply(pixels, mask.pixels, out=box[:h, :w])
    down, across = (_filters(sides[:, axis], largest[axis], size) for axis in (0, 1))
    resized = torch.bmm(torch.bmm(down, torch.from_numpy(boxes)), across.mT)
    return resized.round_().numpy()


def _filters(sides: NDArray[np.int64], padded: int, size: int) -> Tensor:
    """(N, size, padded) weights that resize N rows of pixels of these lengths to `size`."""
    lengths, index = np.unique(sides, return_inverse=True)
    length = torch.from_numpy(lengths.astype(np.float32))[:, None, None]
    step = length / size
    centres = (torch.arange(size) + 0.5)[:, None] * step
    pixels = torch.arange(padded) + 0.5
    weights = (1 - (pixels - centres).abs() / step.clamp(min=1)).clamp(min=0) * (pixels < length)
    return (weights / weights.sum(dim=2, keepdim=True))[torch.from_numpy(index)]


def _check(image: NDArray[np.uint8], masks: Sequence[Mask]) -> None:
    height, width = image.shape
    for number, mask in enumerate(masks):
        h, w = mask.pixels.shape
        if not mask.pixels.any():
            raise CropError(f"mask {number} is empty; leave out masks without pixels")
        if mask.x < 0 or mask.y < 0 or mask.x + w > width or mask.y + h > height:
            raise CropError(
                f"mask {number} (box {w}×{h} at {mask.x}, {mask.y}) reaches outside the "
                f"{width}×{height} image; cut it with the image it was found in"
            )
