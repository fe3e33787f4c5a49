"""Measures of textures: spacing tells clusters from crystals that keep apart."""

from __future__ import annotations

import numpy as np
import pytest

from mcn.catalog.textures.measures import spacing_by_tile, texture_measures


def spacing(points: np.ndarray, side: float) -> float:
    tile = np.zeros(len(points), np.intp)
    observed, expected = spacing_by_tile(*points.T, tile, np.array([side**2]))
    return float(observed[0] / expected[0])


def test_spacing_orders_clusters_chance_and_grids() -> None:
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0)), axis=-1).reshape(-1, 2)
    chance = rng.uniform(0, 30, (900, 2))
    clusters = np.repeat(rng.uniform(0, 30, (30, 2)), 30, axis=0) + rng.normal(0, 0.3, (900, 2))
    assert spacing(grid, 30) == pytest.approx(2)
    assert spacing(chance, 30) == pytest.approx(1, abs=0.08)
    assert spacing(clusters, 30) < 0.5


def test_lonely_crystals_have_no_spacing() -> None:
    tile = np.array([1], np.intp)
    observed, expected = spacing_by_tile(np.ones(1), np.ones(1), tile, np.array([9.0, 9.0]))
    assert observed.tolist() == expected.tolist() == [0, 0]


def test_measures_are_those_of_all_tiles_and_vary_between_resamples() -> None:
    rng = np.random.default_rng(2)
    tile = np.repeat(np.arange(10), 20).astype(np.intp)
    crystals = {
        "shape": (rng.random(200) < 0.3).astype(int),
        "is_euhedral": np.ones(200),
        "contact_fraction": np.linspace(0, 1, 200),
        "roundness": np.full(200, np.nan),
        "completeness": np.full(200, 0.25),
        "equivalent_diameter_um": np.full(200, 2.0),
        "centroid_x": rng.uniform(0, 100, 200),
        "centroid_y": rng.uniform(0, 100, 200),
    }
    tiles = {"width": np.full(10, 100.0), "height": np.full(10, 100.0)}
    pores = np.where(np.arange(10) < 5, 0.1, np.nan)
    values, replicates = texture_measures(
        {**tiles, "visible_pore_fraction": pores}, crystals, tile, ("a", "b")
    )
    assert values["euhedral"] == 1
    assert values["contact"] == pytest.approx(0.5)
    assert values["pores"] == pytest.approx(0.1)
    assert np.isnan(values["roundness"])
    assert values["median_diameter_um"] == pytest.approx(4)  # of whole crystals
    share = crystals["shape"].mean()
    assert values["lead_b"] == pytest.approx(2 * share - 1) == -values["lead_a"]
    assert set(values) == set(replicates)
    assert 0 < np.std(replicates["contact"]) < 0.2
    assert np.array_equal(replicates["lead_a"], -replicates["lead_b"])
