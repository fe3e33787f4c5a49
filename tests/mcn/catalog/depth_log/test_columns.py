"""Tests of `mcn.catalog.depth_log.columns`."""

from __future__ import annotations

from mcn.catalog.depth_log.columns import depth_log_schema, shapes_of_log, statistics
from mcn.taxonomy import SHAPES

FIRST = (
    "depth_top, depth_base, n_tiles, n_crystals, fraction_rhombic, fraction_polyhedral, "
    "fraction_amorphous, fraction_spherical, fraction_euhedral_to_subhedral, "
    "mean_equivalent_diameter_um, q25_equivalent_diameter_um, median_equivalent_diameter_um, "
    "q75_equivalent_diameter_um, crystal_area_fraction"
)


def test_columns_of_older_versions_come_first():
    assert ", ".join(depth_log_schema(SHAPES).names).startswith(FIRST)


def test_each_statistic_has_its_interval_once():
    names = depth_log_schema(SHAPES).names
    assert len({*names}) == len(names)
    for name in statistics(SHAPES):
        assert {name, f"low_{name}", f"high_{name}"} <= {*names}
    assert "corrected_median_equivalent_diameter_um" in statistics(SHAPES)


def test_shapes_are_read_from_the_columns_whatever_their_names():
    shapes = ("low", "high_rhombic", "corrected")
    assert shapes_of_log(depth_log_schema(shapes).empty_table()) == list(shapes)
