"""The run-length code is COCO's own, made from boxes alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from mcn.mask import Mask, decode_rle, encode_rle, masks_from_labels

bitmaps = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.booleans())


def tight(full: NDArray[np.bool_]) -> Mask:
    return masks_from_labels(full.astype(np.int32))[0]


@given(bitmaps.filter(lambda full: bool(full.any())))
def test_the_code_is_cocos(full: NDArray[np.bool_]) -> None:
    (rle,) = encode_rle([tight(full)], *full.shape)
    assert rle["counts"].encode() == coco.encode(np.asfortranarray(full, np.uint8))["counts"]
    assert rle["size"] == list(full.shape)


@given(bitmaps.filter(lambda full: bool(full.any())))
def test_a_mask_survives_the_code(full: NDArray[np.bool_]) -> None:
    mask = tight(full)
    back = decode_rle(encode_rle([mask], *full.shape)[0])
    assert (back.x, back.y) == (mask.x, mask.y)
    assert np.array_equal(back.pixels, mask.pixels)


def test_labels_become_masks_in_order() -> None:
    labels = np.array([[0, 3, 3], [1, 0, 3], [1, 1, 0]], dtype=np.uint16)
    first, second = masks_from_labels(labels)
    assert (first.x, first.y, int(first.pixels.sum())) == (0, 1, 3)
    assert (second.x, second.y, int(second.pixels.sum())) == (1, 0, 3)


def test_no_masks_no_codes() -> None:
    assert encode_rle([], 4, 4) == []
