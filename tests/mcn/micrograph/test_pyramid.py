"""Regions cut from a pyramid show what the picture shows, at any size."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mcn.micrograph.pyramid import Pyramid, Region


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    """A smooth picture of odd size: a wave in each direction."""
    y, x = np.mgrid[:700, :1101]
    return np.uint8(127 + 60 * np.sin(x / 90) + 60 * np.cos(y / 70))


def test_a_region_at_its_own_size_is_the_pixels(pixels: NDArray[np.uint8]) -> None:
    part = Pyramid(pixels).cut(Region(600, 300, 501, 400, 501, 400))
    np.testing.assert_array_equal(part, pixels[300:700, 600:1101])


@pytest.mark.parametrize("shrink", [1.5, 2, 3.3, 4, 8])
def test_a_smaller_region_is_close_to_one_resized_from_all_pixels(
    pixels: NDArray[np.uint8], shrink: float
) -> None:
    x, y, width, height = 301, 101, 800, 599
    size = (round(width / shrink), round(height / shrink))
    part = Pyramid(pixels).cut(Region(x, y, width, height, *size))
    whole = Image.fromarray(pixels[y : y + height, x : x + width])
    expected = np.asarray(whole.resize(size, Image.Resampling.BOX), dtype=float)
    assert part.shape == size[::-1]
    assert np.abs(part - expected).mean() < 1.5


def test_a_pyramid_takes_a_third_more_than_the_picture(pixels: NDArray[np.uint8]) -> None:
    pyramid = Pyramid(pixels)
    assert pyramid.shape == (700, 1101)
    assert pixels.nbytes < pyramid.nbytes < 1.4 * pixels.nbytes


def test_a_single_pixel_has_a_pyramid() -> None:
    pyramid = Pyramid(np.full((1, 1), 9, np.uint8))
    assert pyramid.cut(Region(0, 0, 1, 1, 1, 1)).tolist() == [[9]]
