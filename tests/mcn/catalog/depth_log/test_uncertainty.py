"""Tests of `mcn.catalog.depth_log.uncertainty`."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from mcn.catalog.depth_log.uncertainty import (
    RESAMPLES,
    WeightedQuantiles,
    ratio_intervals,
    ratio_replicates,
    resample_tiles,
    sum_by_tile,
    t_intervals,
)

SHARES = np.array([0.55, 0.3, 0.12, 0.03])
BETWEEN, WITHIN = 0.1, 0.45


def alike_tiles(rng: np.random.Generator, n_tiles: int, mean: int = 80):
    """Tile, shape and size of crystals with a correlation of 0.05 within tiles."""
    counts = rng.poisson(mean * rng.gamma(8, 1 / 8, n_tiles)) + 1
    tile = np.repeat(np.arange(n_tiles), counts)
    mix = rng.dirichlet(19 * SHARES, size=n_tiles).cumsum(axis=1)
    shape = np.minimum((rng.random(len(tile))[:, None] > mix[tile]).sum(axis=1), 3)
    size = np.exp(1 + rng.normal(0, BETWEEN, n_tiles)[tile] + rng.normal(0, WITHIN, len(tile)))
    return tile, shape, size


@pytest.mark.parametrize("n_tiles", [8, 20])
def test_intervals_cover_the_truth_as_often_as_they_say(n_tiles):
    from scipy.stats import norm

    spread = np.hypot(BETWEEN, WITHIN)
    quantiles = np.exp(1 + spread * norm.ppf([0.1, 0.5, 0.9]))
    truth = np.array([*SHARES, np.exp(1 + spread**2 / 2), *quantiles])
    rng = np.random.default_rng(5)
    hits = []
    for seed in range(250):
        tile, shape, size = alike_tiles(rng, n_tiles)
        one_hot = (shape[:, None] == np.arange(4)).astype(np.float64)
        numerators = sum_by_tile(np.column_stack([one_hot, size]), tile, n_tiles)
        crystals = sum_by_tile(np.ones(len(tile)), tile, n_tiles)[:, None]
        scales = ["share"] * 4 + ["size"]
        low, high = ratio_intervals(numerators, crystals, scales, len(tile), seed)
        low_size, high_size = WeightedQuantiles(size, tile, n_tiles).intervals([0.1, 0.5, 0.9])
        low, high = np.append(low, low_size), np.append(high, high_size)
        hits.append((low <= truth) & (truth <= high))
    coverage = np.mean(hits)
    # 250 × 8 intervals, about 1,000 of them independent: a standard error of 0.7 points.
    assert 0.92 < coverage < 0.975
    assert np.mean(hits, axis=0).min() > 0.88


def test_alike_crystals_widen_intervals():
    rng = np.random.default_rng(0)
    tile, shape, _ = alike_tiles(rng, 21, mean=240)
    widths = []
    for order in (tile, rng.permutation(tile)):
        rhombic = sum_by_tile(shape == 0, order, 21)[:, None]
        crystals = sum_by_tile(np.ones(len(order)), order, 21)[:, None]
        low, high = ratio_intervals(rhombic, crystals)
        widths.append((high - low).item())
    assert widths[0] == pytest.approx(0.1, rel=0.3)  # 5 points to either side, as in the docstring
    assert widths[0] > 2.5 * widths[1]


def test_a_seed_gives_the_same_resamples():
    counts = resample_tiles(12, seed=3)
    assert counts.shape == (RESAMPLES, 12)
    assert (counts.sum(axis=1) == 12).all()
    np.testing.assert_array_equal(counts, resample_tiles(12, seed=3))
    assert (counts != resample_tiles(12, seed=4)).any()


def test_quantiles_are_those_of_sql_and_weights_count_crystals():
    values = np.random.default_rng(2).lognormal(size=101)
    levels = [0.0, 0.1, 0.25, 0.5, 0.9, 1.0]
    tile = np.zeros(101, int)
    quantiles = WeightedQuantiles(values, tile, 1).at(levels)
    of_sql = duckdb.sql("SELECT quantile_cont(v, $q) FROM (SELECT unnest($v) AS v)", params={
        "v": values.tolist(), "q": levels}).fetchall()[0][0]  # fmt: skip
    assert quantiles == pytest.approx(of_sql)
    weights = np.where(values > 1, 3.0, 1.0)
    repeated = np.repeat(values, weights.astype(int))
    weighted = WeightedQuantiles(values, tile, 1, weights).at([0.25, 0.5, 0.75])
    assert weighted == pytest.approx(np.quantile(repeated, [0.25, 0.5, 0.75]), rel=0.02)
    without = WeightedQuantiles(values, tile, 1, (values < 1).astype(float)).at([0.5])
    assert without == pytest.approx(np.median(values[values < 1]))


def test_replicates_of_quantiles_agree_with_resampled_samples():
    rng = np.random.default_rng(9)
    tile, _, size = alike_tiles(rng, 10)
    replicates = WeightedQuantiles(size, tile, 10).replicates([0.1, 0.5, 0.9], seed=1)
    counts = resample_tiles(10, seed=1)
    exact = np.array(
        [np.quantile(np.repeat(size, c.astype(int)[tile]), [0.1, 0.5, 0.9]) for c in counts]
    )
    assert replicates.std(axis=0) == pytest.approx(exact.std(axis=0), rel=0.12)
    for column in range(3):
        assert np.corrcoef(replicates[:, column], exact[:, column])[0, 1] > 0.9


def test_what_has_no_interval():
    one = np.array([[3.0]])
    assert np.isnan(ratio_intervals(one, 2 * one)).all()
    assert np.isnan(ratio_intervals(np.empty((0, 2)), np.empty((0, 1)))).all()
    none = WeightedQuantiles(np.empty(0), np.empty(0, int), 4)
    assert np.isnan(none.at([0.5])).all()
    assert np.isnan(none.intervals([0.5])).all()
    nothing = np.zeros((5, 1))
    assert np.isnan(ratio_intervals(nothing, nothing)).all()


def test_a_shape_that_is_not_seen_may_still_be_there():
    absent, crystals = np.zeros((10, 1)), np.full((10, 1), 50.0)
    low, high = ratio_intervals(absent, crystals, crystals=500)
    assert low.item() == 0
    assert 0.005 < high.item() < 0.05
    low, high = ratio_intervals(crystals, crystals, crystals=500)
    assert 0.95 < low.item() < 0.995
    assert high.item() == 1


def test_tiles_without_crystals_are_resampled_too():
    rhombic = np.array([[4.0], [0.0], [0.0], [6.0]])
    crystals = np.array([[9.0], [0.0], [0.0], [10.0]])
    low, high = ratio_intervals(rhombic, crystals)
    assert 0 < low.item() < 10 / 19 < high.item() < 1


def test_many_tiles_are_resampled_in_groups():
    rng = np.random.default_rng(4)
    tiles = rng.binomial(100, 0.3, size=(40_000, 1)).astype(np.float64)
    assert ratio_replicates(tiles, np.full((40_000, 1), 100.0)).shape == (RESAMPLES, 1)
    low, high = ratio_intervals(tiles, np.full((40_000, 1), 100.0))
    expected = 2 * 1.96 * np.sqrt(0.3 * 0.7 / 4e6)
    assert (high - low).item() == pytest.approx(expected, rel=0.15)


def test_intervals_stay_on_their_scale():
    replicates = np.random.default_rng(0).normal([0.02, 0.5], [0.02, 1.0], size=(RESAMPLES, 2))
    low, high = t_intervals(np.array([0.02, 0.5]), replicates, 5, np.array([True, False]))
    assert (low > 0).all()
    assert high[0] < 1
