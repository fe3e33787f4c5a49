"""Tests of `mcn.micrograph.orientation`, against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from mcn.micrograph.orientation import TAG, exif_orientation, turn, valid_orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_pillow_does(orientation):
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = Image.fromarray(pixels)
    image.getexif()[TAG] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(turn(pixels, orientation), expected)


@pytest.mark.parametrize(("value", "expected"), [(6, 6), ((3,), 3), (0, 1), (9, 1), ("6", 1)])
def test_invalid_values_mean_upright(value, expected):
    assert valid_orientation(value) == expected


def test_orientation_is_read_from_exif():
    exif = Image.Exif()
    exif[TAG] = 8
    assert exif_orientation(exif.tobytes()) == 8
    assert exif_orientation(b"damaged") == 1
