"""Tests of `mcn.crystals`."""

from __future__ import annotations

import numpy as np

from mcn.crystals import crystal_area_fraction, crystal_ids, crystal_masks, segmented_crystals
from mcn.mask import masks_from_labels


def test_masks_are_restored_from_the_table():
    labels = np.zeros((20, 30), dtype=np.uint16)
    labels[2:7, 3:9] = 1
    labels[10:15, 20:30] = 2
    masks = masks_from_labels(labels)
    restored = crystal_masks(segmented_crystals(masks, {}, 20, 30))
    for mask, copy in zip(masks, restored, strict=True):
        assert (mask.x, mask.y) == (copy.x, copy.y)
        assert np.array_equal(mask.pixels, copy.pixels)


def test_ids_depend_on_tile_models_and_order():
    first, second = crystal_ids("tile", "segmenter@1", "classifier@1", 2)
    assert first != second
    assert crystal_ids("tile", "segmenter@1", "classifier@1", 1) == [first]
    assert crystal_ids("tile", "segmenter@2", "classifier@1", 1) != [first]


def test_area_fraction():
    assert crystal_area_fraction(25, 100) == 0.25
    assert crystal_area_fraction(0, 0) == 0.0
