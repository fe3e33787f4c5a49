"""Quantiles of many intervals at once are those of each interval alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mcn.catalog.depth_log.quantiles import GroupedQuantiles

LEVELS = np.array([0.0, 0.05, 0.5, 0.9, 1.0])


def test_each_interval_has_its_own_quantiles() -> None:
    rng = np.random.default_rng(3)
    first_tile = np.array([0, 2, 3, 7, 8])
    tile = rng.choice([0, 1, 3, 4, 5, 6], 400)  # The second interval has no crystals,
    tile = np.append(tile, 7)  # and the last one a single crystal.
    values = rng.lognormal(size=len(tile))
    sizes = GroupedQuantiles(values, tile, first_tile)
    at = sizes.at(np.tile(LEVELS, (4, 1)))
    for number, (first, last) in enumerate(itertools.pairwise(first_tile)):
        inside = values[(tile >= first) & (tile < last)]
        expected = np.quantile(inside, LEVELS) if len(inside) else np.full(5, np.nan)
        assert at[number] == pytest.approx(expected, nan_ok=True), number
        assert sizes.counts[number] == len(inside)
    chosen = np.array([2])
    assert sizes.at(LEVELS[None], chosen)[0] == pytest.approx(at[2])


def test_weights_below_a_size_are_counted_by_tile() -> None:
    rng = np.random.default_rng(4)
    first_tile = np.array([0, 3, 5])
    tile, values, weights = rng.integers(5, size=300), rng.normal(size=300), rng.random(300)
    sizes = GroupedQuantiles(values, tile, first_tile, weights)
    cuts = np.array([[0.5, -1.0, 0.5, 9.0], [0.0, 0.1, -9.0, 0.2]])
    below, everything = sizes.below(cuts)
    for number in range(5):
        own = tile == number
        expected = [weights[own & (values <= cut)].sum() for cut in cuts[int(number >= 3)]]
        assert below[number] == pytest.approx(expected)
        assert everything[number] == pytest.approx(weights[own].sum())


def test_nothing_has_no_quantiles() -> None:
    none = GroupedQuantiles(np.empty(0), np.empty(0, int), np.array([0, 1, 2]))
    assert np.isnan(none.at(np.full((2, 3), 0.5))).all()
    below, everything = none.below(np.full((2, 3), np.nan))
    assert not below.any()
    assert everything.shape == (2, 1)
