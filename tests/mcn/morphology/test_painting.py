"""Painting masks, and masks of polygons."""

import numpy as np
import pytest

from mcn.catalog.export import outline_geometries
from mcn.mask import encode_rle, masks_from_labels
from mcn.morphology import paint_crystals
from mcn.morphology.painting import mask_of_polygons


def test_painting_is_the_inverse_of_reading_labels() -> None:
    labels = np.random.default_rng(0).integers(0, 6, (40, 60)).astype(np.int32)
    masks = masks_from_labels(labels)
    assert (paint_crystals(masks, 40, 60) == labels).all()


def test_polygons_of_masks_give_the_masks_again() -> None:
    rng = np.random.default_rng(1)
    blobs = [np.kron(rng.random((6, 8)) > 0.4, np.ones((3, 4), bool)) for _ in range(20)]
    for blob in blobs:
        (mask,) = masks_from_labels(blob.astype(np.int32))
        (geometry,) = outline_geometries(encode_rle([mask], *blob.shape))
        rings = geometry["coordinates"]
        again = mask_of_polygons([rings] if geometry["type"] == "Polygon" else rings, *blob.shape)
        assert (again.x, again.y) == (mask.x, mask.y)
        assert (again.pixels == mask.pixels).all()


def test_drawn_lines_are_cut_off_at_the_edge() -> None:
    ring = [[-5, -5], [4, -5], [4, 3], [-5, 3], [-5, -5]]
    mask = mask_of_polygons([[ring]], 10, 10)
    assert (mask.x, mask.y, mask.pixels.shape) == (0, 0, (3, 4))
    assert not mask_of_polygons([[[[20, 20], [30, 20], [25, 30]]]], 10, 10).pixels.any()
    for ring in ([[0, 0], [1, 1]], [[0, 0], [1, 1], [float("nan"), 2]]):
        with pytest.raises(ValueError, match=r"ring|number"):
            mask_of_polygons([[ring]], 10, 10)
