"""Tests of `mcn.catalog.depth_log.statistics`, in logs of small catalogues."""

from __future__ import annotations

import numpy as np
import pytest

from mcn.catalog.depth_log.columns import statistics
from mcn.catalog.depth_log.table import depth_log
from mcn.taxonomy import SHAPES


def test_intervals_surround_their_values(core):
    log = depth_log(core, "A", 100.0)
    for name in statistics(SHAPES):
        value, low, high = (log[prefix + name].to_numpy() for prefix in ("", "low_", "high_"))
        known = np.isfinite(value)
        assert (low[known] <= value[known] + 1e-9).all(), name
        assert (high[known] >= value[known] - 1e-9).all(), name
    again = depth_log(core, "A", 100.0)
    assert again.equals(log)
    assert not depth_log(core, "A", 100.0, seed=1).equals(log)


def test_one_tile_has_values_but_no_interval(core):
    row = depth_log(core, "A", 10.0).slice(3, 1).to_pylist()[0]
    assert row["median_equivalent_diameter_um"] == pytest.approx(1.3)
    assert row["low_median_equivalent_diameter_um"] is None
    assert row["high_fraction_rhombic"] is row["low_mean_aspect_ratio"] is None
    assert row["few_tiles"] is True


def test_sizes_of_whole_crystals_stand_beside_the_visible_ones(
    catalog, make_tile, make_crystal, commit
):
    # A large crystal is cut by the edge of a picture of 64 × 48 more often than a small one.
    small = make_crystal(bbox_w=4, bbox_h=4, equivalent_diameter_um=1.0, completeness=0.25)
    large = make_crystal(bbox_w=40, bbox_h=30, equivalent_diameter_um=3.0, completeness=0.25)
    cut = make_crystal(touches_edge=True, equivalent_diameter_um=9.0, completeness=0.25)
    commit(catalog, *((make_tile(f"a{n}"), [small, small, large, cut]) for n in range(9)))
    (row,) = depth_log(catalog, "A", 10.0).to_pylist()
    assert row["mean_equivalent_diameter_um"] == 3.5
    weight = {"small": 64 * 48 / (59 * 43), "large": 64 * 48 / (23 * 17)}
    expected = (2 * weight["small"] * 2 + weight["large"] * 6) / (
        2 * weight["small"] + weight["large"]
    )
    assert row["corrected_mean_equivalent_diameter_um"] == pytest.approx(expected)
    assert row["corrected_median_equivalent_diameter_um"] == pytest.approx(6.0)
    assert row["resolvable_diameter_um"] == pytest.approx(1.6)
    assert row["mean_completeness"] == 0.25


def test_uncertain_shapes_count_less_in_corrected_fractions(
    catalog, make_tile, make_crystal, commit
):
    sure, unsure = make_crystal(confidence=0.9), make_crystal("spherical", confidence=0.3)
    commit(catalog, (make_tile(), [sure, unsure]))
    (row,) = depth_log(catalog, "A", 10.0).to_pylist()
    assert row["fraction_rhombic"] == 0.5
    assert row["corrected_fraction_rhombic"] == pytest.approx(0.75)
    assert row["corrected_fraction_euhedral_to_subhedral"] == pytest.approx(0.75)


def test_crystals_that_an_older_version_measured_have_no_whole_size(
    catalog, make_tile, make_crystal, commit
):
    unknown = {"contact_fraction": None, "roundness": None, "completeness": None}
    commit(catalog, *((make_tile(f"a{n}"), [make_crystal(**unknown)] * 2) for n in range(3)))
    (row,) = depth_log(catalog, "A", 10.0).to_pylist()
    assert row["mean_roundness"] is row["corrected_mean_equivalent_diameter_um"] is None
    assert (
        row["low_corrected_median_equivalent_diameter_um"] is row["corrected_sorting_phi"] is None
    )
    assert row["corrected_fraction_rhombic"] == 1.0


def test_many_intervals_are_as_each_of_them_alone(core):
    whole = depth_log(core, "A", 70.0)
    for row in whole.to_pylist():
        window = row["depth_top"], np.nextafter(row["depth_base"], 0)
        (alone,) = depth_log(core, "A", 70.0, depth=window).to_pylist()
        for name in set(row) - {"depth_top", "depth_base"}:
            assert alone[name] == pytest.approx(row[name]), name
