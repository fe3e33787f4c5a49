"""Tests of `mcn.catalog.depth_log.bias`, against populations that are known whole."""

from __future__ import annotations

import numpy as np
import pytest

from mcn.catalog.depth_log.bias import edge_weights, resolvable_diameter, whole_diameters


def test_edge_weights_give_back_the_crystals_of_the_plane():
    rng = np.random.default_rng(1)
    side, count = 200, 400_000
    diameter = rng.choice([10, 40, 90], size=count, p=[0.6, 0.3, 0.1])
    x, y = rng.integers(-100, side, size=(2, count))
    inside = (x > 0) & (y > 0) & (x + diameter < side) & (y + diameter < side)
    in_picture = (x + diameter > 0) & (y + diameter > 0) & (x < side) & (y < side)
    cut = in_picture & ~inside
    touches = np.concatenate([np.zeros(inside.sum(), bool), np.ones(cut.sum(), bool)])
    size = np.concatenate([diameter[inside], diameter[cut]])
    picture = np.full(len(size), side)
    weights = edge_weights(size, size, picture, picture, touches)
    assert (weights[touches] == 0).all()
    assert np.average(size, weights=weights) == pytest.approx(diameter.mean(), rel=0.02)
    # Without the weights the crystals inside are too small, with those at the edge too large.
    assert diameter[inside].mean() < 0.85 * diameter.mean()
    assert size.mean() > 1.1 * diameter.mean()


def test_a_crystal_as_large_as_the_picture_has_a_finite_weight():
    weight = edge_weights(
        np.array([100]), np.array([100]), np.array([100]), np.array([100]), np.array([False])
    )
    assert 1 < weight.item() <= 10_000


def test_whole_diameters_have_the_area_of_the_hidden_parts():
    assert whole_diameters(np.array([2.0, 3.0]), np.array([0.25, 1.0])).tolist() == [4.0, 3.0]


def test_the_coarsest_tile_limits_what_can_be_told():
    assert resolvable_diameter(np.array([0.02, 0.1, np.nan])) == pytest.approx(1.6)
    assert np.isnan(resolvable_diameter(np.array([np.nan])))
