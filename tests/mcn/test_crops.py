"""A crop shows only the crystal's own pixels, at any place and size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mcn.crops import CropError, cut_crops
from mcn.crystals import CROP_SIZE
from mcn.mask import Mask, masks_from_labels


def disc(radius: int) -> NDArray[np.bool_]:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return x * x + y * y <= radius * radius


def shaded(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(1, 256, (height, width), dtype=np.uint8)


def test_no_masks_give_no_crops() -> None:
    crops = cut_crops(shaded(20, 30), [])
    assert crops.shape == (0, CROP_SIZE, CROP_SIZE)
    assert crops.dtype == np.uint8


@settings(max_examples=40)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 2**32 - 1),
)
def test_crops_do_not_depend_on_the_crystals_place(
    h: int, w: int, y: int, x: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.random((h, w)) < 0.8
    pixels[0, 0] = True
    crystal = shaded(h, w, seed)
    image = shaded(160, 160, seed + 1)
    image[y : y + h, x : x + w] = crystal
    (in_image,) = cut_crops(image, [Mask(x, y, pixels)])
    (isolated,) = cut_crops(crystal, [Mask(0, 0, pixels)])
    assert np.array_equal(in_image, isolated)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=8))
def test_boxes_are_resized_as_by_pillow(sides: list[tuple[int, int]]) -> None:
    """The shipped and the published network were trained on crops resized by Pillow."""
    rng = np.random.default_rng(len(sides))
    image = shaded(400, 400)
    masks = []
    for h, w in sides:
        pixels = rng.random((h, w)) < 0.9
        pixels[0, 0] = True
        masks.append(Mask(int(rng.integers(0, 401 - w)), int(rng.integers(0, 401 - h)), pixels))
    crops = cut_crops(image, masks)
    for crop, mask in zip(crops, masks, strict=True):
        h, w = mask.pixels.shape
        crystal = Image.fromarray(image[mask.y : mask.y + h, mask.x : mask.x + w] * mask.pixels)
        resized = crystal.resize((CROP_SIZE, CROP_SIZE), Image.Resampling.BILINEAR)
        assert np.abs(crop.astype(int) - np.asarray(resized)).max() <= 1


def test_many_crops_equal_single_ones() -> None:
    """More crystals than one batch, of all sizes."""
    rng = np.random.default_rng(4)
    image = shaded(700, 700)
    sides = np.exp(rng.uniform(0, np.log(600), size=(400, 2))).astype(int)
    masks = [Mask(0, 0, np.ones((h, w), dtype=bool)) for h, w in sides.tolist()]
    crops = cut_crops(image, masks)
    for row in range(0, 400, 20):
        (single_crop,) = cut_crops(image, [masks[row]])
        assert np.abs(crops[row].astype(int) - single_crop).max() <= 1


def test_crops_do_not_depend_on_surrounding_pixels() -> None:
    pixels = disc(20)
    image = shaded(60, 60)
    other = np.where(np.pad(pixels, ((5, 14), (5, 14))), image, 255 - image)
    mask = Mask(5, 5, pixels)
    assert np.array_equal(cut_crops(image, [mask]), cut_crops(other, [mask]))


@pytest.mark.parametrize("radius", [4, 15, 31, 120])
def test_crystals_of_any_size_fill_the_crop_alike(radius: int) -> None:
    pixels = disc(radius)
    side = 2 * radius + 1
    (crop,) = cut_crops(np.full((side, side), 200, np.uint8), [Mask(0, 0, pixels)])
    assert crop[CROP_SIZE // 2, CROP_SIZE // 2] == 200
    assert not crop[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    share = crop.astype(float).mean() / 200
    assert share == pytest.approx(pixels.mean(), abs=0.02)


@pytest.mark.parametrize(("h", "w"), [(10, 40), (40, 10), (1, 7)])
def test_a_long_crystal_is_stretched_to_the_square(h: int, w: int) -> None:
    image = np.full((60, 60), 255, np.uint8)
    (crop,) = cut_crops(image, [Mask(3, 4, np.ones((h, w), bool))])
    assert (crop == 255).all()


def test_shrinking_averages_fine_patterns() -> None:
    checks = (np.indices((480, 480)).sum(axis=0) % 2 * 200).astype(np.uint8)
    (crop,) = cut_crops(checks, [Mask(0, 0, np.ones(checks.shape, bool))])
    assert abs(crop[1:-1, 1:-1].astype(int) - 100).max() <= 3


def test_crops_come_in_the_order_of_the_masks() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[2:12, 2:12], labels[20:30, 20:30] = 1, 2
    crops = cut_crops(labels * np.uint8(100), masks_from_labels(labels))
    assert crops.max(axis=(1, 2)).tolist() == [100, 200]


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (Mask(0, 0, np.zeros((0, 0), bool)), "mask 1 is empty"),
        (Mask(0, 0, np.zeros((3, 3), bool)), "mask 1 is empty"),
        (Mask(18, 0, np.ones((3, 3), bool)), "mask 1 .* outside the 20×20 image"),
        (Mask(0, -1, np.ones((3, 3), bool)), "mask 1 .* outside"),
    ],
)
def test_invalid_masks_are_named(mask: Mask, reason: str) -> None:
    good = Mask(0, 0, np.ones((5, 5), bool))
    with pytest.raises(CropError, match=reason):
        cut_crops(shaded(20, 20), [good, mask])
