"""Pores that are visible in a picture."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_DARK: Final = 0.05
"""Share of the crystals' pixels that are as dark as a pore."""


def count_pore_pixels(image: NDArray[np.uint8], is_crystal: NDArray[np.bool_]) -> int | None:
    """Number of pixels that are on no crystal and darker than 95 % of the crystals' pixels.

    What is on no crystal and as bright as one is taken for solid: ground mass, or a crystal that
    was not found. In rendered rock surfaces the share is that of the open floor to within 4 points
    on average; powders on a bright stub have no pores in this sense.

    Parameters
    ----------
    image : (H, W) uint8 array
        The analysed part of a picture.
    is_crystal : (H, W) bool array

    Returns
    -------
    int or None
        None if there are no crystals to compare with.
    """
    of_crystals = np.bincount(image[is_crystal], minlength=256)
    n_pixels = int(of_crystals.sum())
    if n_pixels == 0:
        return None
    darkest = np.searchsorted(np.cumsum(of_crystals), _DARK * n_pixels)
    darker = np.bincount(image.ravel(), minlength=256) - of_crystals
    return int(darker[:darkest].sum())
