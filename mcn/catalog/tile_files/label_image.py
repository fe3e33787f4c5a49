"""Label images: the number of a crystal in each of its pixels, for napari, ImageJ and Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcn.mask import Mask
from mcn.morphology.contact import paint_crystals

LabelImage = NDArray[np.unsignedinteger[Any]]


def label_image(masks: Sequence[Mask], height: int, width: int) -> LabelImage:
    """Number the pixels of masks.

    Parameters
    ----------
    masks : sequence of N Mask
        Within an image of shape (height, width).
    height, width : int
        Pixels.

    Returns
    -------
    (height, width) uint16 array, or uint32 for more than 65,535 masks
        0 is the background, n + 1 is mask n. Where masks overlap, the last is shown.
    """
    kind = np.uint16 if len(masks) <= np.iinfo(np.uint16).max else np.uint32
    return paint_crystals(masks, height, width).astype(kind)


def write_label_image(
    labels: LabelImage, path: str | os.PathLike[str], pixel_size_um: float | None
) -> None:
    """Write a label image as TIFF.

    Up to 65,535 crystals it is an ImageJ TIFF of 16 bits, whose scale ImageJ shows in
    micrometres; readers that do not know this format read it as any other TIFF.
    """
    import tifffile

    options: dict[str, Any] = {"compression": "zlib", "photometric": "minisblack"}
    if labels.dtype == np.uint16:
        highest = int(labels.max(initial=0))
        options |= {"imagej": True, "metadata": {"axes": "YX", "min": 0, "max": max(highest, 1)}}
        if pixel_size_um is not None:
            options["metadata"]["unit"] = "um"
    if pixel_size_um is not None:
        options["resolution"] = (1 / pixel_size_um, 1 / pixel_size_um)
    tifffile.imwrite(path, labels, **options)
