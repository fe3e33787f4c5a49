"""The run-length code is COCO's, computed from the box of a mask only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco

from mcn.mask import RLE, Mask, decode_rle, decode_rles, encode_rle, masks_from_labels

bitmaps = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.booleans())


def tight(full: NDArray[np.bool_]) -> Mask:
    return masks_from_labels(full.astype(np.int32))[0]


@given(bitmaps.filter(lambda full: bool(full.any())))
def test_the_code_matches_coco(full: NDArray[np.bool_]) -> None:
    (rle,) = encode_rle([tight(full)], *full.shape)
    assert rle["counts"].encode() == coco.encode(np.asfortranarray(full, np.uint8))["counts"]
    assert rle["size"] == list(full.shape)


@given(bitmaps.filter(lambda full: bool(full.any())))
def test_a_mask_is_restored_from_its_code(full: NDArray[np.bool_]) -> None:
    mask = tight(full)
    back = decode_rle(encode_rle([mask], *full.shape)[0])
    assert (back.x, back.y) == (mask.x, mask.y)
    assert np.array_equal(back.pixels, mask.pixels)


@given(st.lists(bitmaps, max_size=5))
def test_codes_are_decoded_as_by_pycocotools(pictures: list[NDArray[np.bool_]]) -> None:
    codes = [coco.encode(np.asfortranarray(full, np.uint8)) for full in pictures]
    rles = [RLE(size=code["size"], counts=code["counts"].decode()) for code in codes]
    for full, mask in zip(pictures, decode_rles(rles), strict=True):
        back = np.zeros_like(full)
        h, w = mask.pixels.shape
        back[mask.y : mask.y + h, mask.x : mask.x + w] = mask.pixels
        assert np.array_equal(back, full)
        for side in (mask.pixels[:1], mask.pixels[-1:], mask.pixels[:, :1], mask.pixels[:, -1:]):
            assert side.any() or not mask.pixels.size


def test_long_runs_are_read() -> None:
    full = np.zeros((3000, 2000), dtype=bool)
    full[100:2900, 50:1990] = True
    (mask,) = decode_rles(encode_rle([tight(full)], *full.shape))
    assert (mask.x, mask.y, mask.pixels.shape) == (50, 100, (2800, 1940))
    assert mask.pixels.all()


@pytest.mark.parametrize(
    "counts",
    [
        "04",  # four pixels of sixteen
        "o3",  # more than sixteen
        "0O",  # a negative run
        "1Z",  # truncated
        "zzz",  # characters of no code
        "\n",
        "é",
        "0" + "P" * 12 + "1",  # a number of 65 bits
    ],
)
def test_an_invalid_code_is_refused(counts: str) -> None:
    good = encode_rle([Mask(0, 0, np.ones((4, 1), dtype=bool))], 4, 4)
    assert decode_rles(good)[0].pixels.shape == (4, 1)
    with pytest.raises(ValueError, match="counts are not a compressed run-length code"):
        decode_rles([{"size": [4, 4], "counts": counts}, *good])


def test_labels_become_masks_in_order() -> None:
    labels = np.array([[0, 3, 3], [1, 0, 3], [1, 1, 0]], dtype=np.uint16)
    first, second = masks_from_labels(labels)
    assert (first.x, first.y, int(first.pixels.sum())) == (0, 1, 3)
    assert (second.x, second.y, int(second.pixels.sum())) == (1, 0, 3)


def test_no_masks_give_no_codes() -> None:
    assert encode_rle([], 4, 4) == []
