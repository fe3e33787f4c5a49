"""The classical baseline."""

import numpy as np
import pytest

from mcn.segment.inference.watershed import WatershedSegmenter
from mcn.segment.segmenter import load_segmenter, segmenter_name


def test_the_baseline_separates_touching_discs() -> None:
    y, x = np.mgrid[:80, :120]
    discs = (np.hypot(x - 45, y - 40) < 20) | (np.hypot(x - 78, y - 40) < 20)
    for image in (np.where(discs, 200, 30), np.where(discs, 30, 200)):
        (masks,) = load_segmenter("watershed").segment([image.astype(np.uint8)])
        assert len(masks) == 2


@pytest.mark.parametrize("image", [np.full((30, 40), 90, np.uint8), np.zeros((0, 5), np.uint8)])
def test_a_uniform_image_has_no_crystal(image: np.ndarray) -> None:
    assert WatershedSegmenter().segment([image]) == [[]]


def test_images_may_differ_in_size_and_specks_are_dropped() -> None:
    large, small = np.full((60, 80), 30, np.uint8), np.full((40, 40), 30, np.uint8)
    large[10:40, 20:60] = small[5:20, 5:20] = 220
    large[50:53, 5:8] = 220
    (first, *parts), (second,) = WatershedSegmenter().segment([large, small])
    area = sum(mask.pixels.sum() for mask in (first, *parts))
    assert area == pytest.approx(1200, rel=0.1)
    assert second.pixels.sum() == pytest.approx(225, rel=0.2)


def test_the_name_has_no_digest() -> None:
    assert segmenter_name("watershed") == load_segmenter("watershed").name
    assert segmenter_name("watershed").startswith("watershed@")
