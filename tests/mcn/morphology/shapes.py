"""Masks of any shape, for tests of morphology."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from mcn.mask import Mask

bitmaps = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=10)).filter(np.any)
bitmap_lists = st.lists(bitmaps, min_size=1, max_size=6)


def masks_of(bitmaps: list[NDArray[np.bool_]]) -> list[Mask]:
    """Masks with the given pixels, including blank borders."""
    return [Mask(0, 0, pixels) for pixels in bitmaps]
