"""Orientation of pictures (TIFF and EXIF tag 274).

References
----------
TIFF 6.0, tag Orientation; Exif 3.0, 4.6.5; PNG third edition, chunk eXIf.
"""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from mcn.micrograph.exif import exif_tags

TAG: Final = 274
UPRIGHT: Final = 1


def valid_orientation(value: object) -> int:
    """The tag's value if it is valid (1 to 8), else 1 (as stored)."""
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else UPRIGHT


def exif_orientation(exif: bytes) -> int:
    """Orientation in the bytes of an EXIF block; 1 without it."""
    return valid_orientation(exif_tags(exif).get(TAG))


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
