"""What the classifier sees of a crystal: its own pixels on black, in a small square."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcn.errors import McnError
from mcn.mask import Mask

CROP_SIZE = 64


class CropError(McnError):
    """A mask that cannot be cut out of its image, or crops of the wrong size or type."""


def cut_crops(
    image: NDArray[np.uint8], masks: Sequence[Mask], size: int = CROP_SIZE
) -> NDArray[np.uint8]:
    """Cut every crystal out of its micrograph.

    The pixels outside the mask are black and the mask's box is stretched to the square, as
    it seems to have been for the network of the source paper [1]_; keeping the aspect
    ratio told rendered shapes apart no better. Shrinking averages (a triangle filter as
    wide as the step), so fine noise does not alias; enlarging is bilinear.

    Parameters
    ----------
    image : (H, W) uint8 array
        Grey micrograph.
    masks : sequence of N Mask
        Crystals, each wholly inside the image.
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
    height, width = image.shape
    crops = np.zeros((len(masks), size, size), dtype=np.uint8)
    for number, (crop, mask) in enumerate(zip(crops, masks, strict=True)):
        h, w = mask.pixels.shape
        if not mask.pixels.any():
            raise CropError(f"mask {number} is empty; leave masks without pixels out")
        if mask.x < 0 or mask.y < 0 or mask.x + w > width or mask.y + h > height:
            raise CropError(
                f"mask {number} (box {w}×{h} at {mask.x}, {mask.y}) reaches outside the "
                f"{width}×{height} image; cut it with the image it was found in"
            )
        pixels = image[mask.y : mask.y + h, mask.x : mask.x + w] * mask.pixels
        resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
        crop[:] = np.asarray(resized)
    return crops
