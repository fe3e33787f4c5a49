"""Tests of `mcn.morphology.completeness`, against crystals whose hidden parts are known."""

from __future__ import annotations

import numpy as np
import pytest

from mcn.mask import Mask, masks_from_labels
from mcn.morphology import measure
from mcn.synthetic.renderer import TileSettings, render_tile


def disc(diameter: int) -> np.ndarray:
    y, x = np.mgrid[:diameter, :diameter] - (diameter - 1) / 2
    return np.hypot(x, y) <= diameter / 2


def completeness(pixels: np.ndarray, x: int = 20, y: int = 20) -> float:
    return measure([Mask(x, y, pixels)], 300, 300, None)["completeness"].item()


def test_a_disc_is_whole_and_what_is_left_of_it_is_not() -> None:
    whole = disc(60)
    assert completeness(whole) > 0.97
    behind = whole.copy()
    behind[:, 34:] &= ~np.roll(whole, 34, axis=1)[:, 34:]
    visible = behind.sum() / whole.sum()
    assert completeness(behind) == pytest.approx(visible, abs=0.15)


def test_a_crystal_cut_by_the_edge_is_half_of_one() -> None:
    half = disc(60)[:, 30:]
    assert completeness(half, x=0) == pytest.approx(0.5, abs=0.2)
    assert completeness(half, x=20) > 1.3 * completeness(half, x=0)


def test_whole_sizes_of_rendered_crystals_are_told_from_their_visible_parts() -> None:
    settings = TileSettings(height=384, width=512, diameter_um=2.0, shape_mix=(0.4, 0.3, 0.2, 0.1))
    visible, whole, corrected = [], [], []
    for seed in range(41, 45):
        tile = render_tile(seed, settings)
        masks = masks_from_labels(tile.labels.astype(np.int32))
        columns = measure(masks, *tile.labels.shape, tile.pixel_size_um)
        diameter = columns["equivalent_diameter_um"]
        visible.append(diameter)
        whole.append(diameter / np.sqrt(tile.visible_fraction))
        corrected.append(diameter / np.sqrt(columns["completeness"]))
    true = np.median(np.concatenate(whole))
    assert np.median(np.concatenate(visible)) < 0.85 * true
    assert np.median(np.concatenate(corrected)) == pytest.approx(true, rel=0.05)
