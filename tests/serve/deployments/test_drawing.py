"""Outlines of clients as masks; pictures of crystals at the edge."""

import io

import numpy as np
import pytest
from PIL import Image

from mcn.mask import Mask, encode_rle
from serve.deployments.drawing import crops_of, masks_of, surroundings


def test_masks_from_codes_and_polygons() -> None:
    mask = Mask(3, 2, np.ones((4, 5), dtype=bool))
    (code,) = encode_rle([mask], 20, 30)
    ring = [[3, 2], [8, 2], [8, 6], [3, 6], [3, 2]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    several = {"type": "MultiPolygon", "coordinates": [[ring]]}
    for read in masks_of([code, polygon, several], 20, 30):
        assert (read.x, read.y, read.pixels.shape) == (3, 2, (4, 5))


@pytest.mark.parametrize(
    "outline",
    [
        {},
        {"type": "LineString", "coordinates": []},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, "x"], [2, 2]]]},
        {"size": [5, 5], "counts": "1"},
        {"size": [20, 30], "counts": [1, 2]},
    ],
)
def test_other_outlines_are_refused(outline: dict) -> None:
    with pytest.raises((ValueError, TypeError)):
        masks_of([outline], 20, 30)


def test_surroundings_stay_in_the_picture() -> None:
    pixels = np.zeros((50, 60), np.uint8)
    pixels[:10, :10] = 200
    row = {"bbox_x": 0, "bbox_y": 0, "bbox_w": 10, "bbox_h": 10}
    picture = np.asarray(Image.open(io.BytesIO(surroundings(pixels, row, 32, 0.5))))
    assert picture.shape == (32, 32)
    assert picture[2, 2] == 200
    assert picture[30, 30] == 0
    huge = {"bbox_x": 0, "bbox_y": 0, "bbox_w": 60, "bbox_h": 50}
    assert Image.open(io.BytesIO(surroundings(pixels, huge, 32, 5.0))).size == (32, 32)


def test_crops_are_those_of_the_classifier() -> None:
    crops = crops_of(np.full((50, 60), 9, np.uint8), [Mask(3, 2, np.ones((4, 5), dtype=bool))])
    assert crops.shape == (1, 64, 64)
    assert (crops == 9).all()
