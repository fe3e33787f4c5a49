"""Tests of `mcn.morphology.pores`."""

from __future__ import annotations

import numpy as np

from mcn.morphology import count_pore_pixels
from mcn.synthetic.renderer import TileSettings, render_tile


def test_pores_are_darker_than_crystals() -> None:
    is_crystal = np.zeros((10, 10), dtype=bool)
    is_crystal[:, :5] = True
    image = np.full((10, 10), 200, dtype=np.uint8)
    image[:3, 5:] = 20
    assert count_pore_pixels(image, is_crystal) == 15
    shares = []
    for porosity in (0.05, 0.3):
        settings = TileSettings(height=384, width=512, diameter_um=2.0, porosity=porosity)
        tile = render_tile(7, settings)
        pores = count_pore_pixels(tile.image, tile.labels > 0)
        assert pores is not None
        shares.append(pores / tile.image.size)
    assert shares[1] > 2 * shares[0] > 0


def test_without_crystals_pores_cannot_be_told() -> None:
    picture = np.zeros((5, 5), dtype=np.uint8)
    assert count_pore_pixels(picture, np.zeros((5, 5), dtype=bool)) is None
    assert count_pore_pixels(picture, np.ones((5, 5), dtype=bool)) == 0
