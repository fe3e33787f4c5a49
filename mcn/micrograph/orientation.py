"""Orientation of pictures (TIFF and EXIF tag 274).

References
----------
TIFF 6.0, tag Orientation; Exif 3.0, 4.6.5; PNG third edition, chunk eXIf.
"""

from __future__ import annotations

import warnings
from typing import Any, Final

from numpy.typing import NDArray

TAG: Final = 274
UPRIGHT: Final = 1
_MOST_BYTES: Final = 2**20


def valid_orientation(value: object) -> int:
    """The tag's value if it is valid (1 to 8), else 1 (as stored)."""
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def exif_orientation(exif: bytes) -> int:
    """Orientation in the bytes of an EXIF block, which is a small TIFF file; 1 without it."""
    from PIL.Image import Exif

    block = Exif()
    try:
        with warnings.catch_warnings(action="ignore"):
            block.load(exif[:_MOST_BYTES])
        return valid_orientation(block.get(TAG))
    # The library raises many types of errors on a damaged block, which is not essential.
    except Exception:
        return UPRIGHT


def turn(grey: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn a stored picture (H, W) for display; the result is (W, H) for orientations 5 to 8.

    Examples
    --------
    >>> turn(np.array([[1, 2], [3, 4]]), 6)
    array([[3, 1],
           [4, 2]])
    """
    if orientation > 4:
        grey = grey.T
    if orientation in (3, 4, 7, 8):
        grey = grey[::-1]
    if orientation in (2, 3, 6, 7):
        grey = grey[:, ::-1]
    return grey
