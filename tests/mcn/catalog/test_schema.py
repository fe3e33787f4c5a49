"""Tests of `mcn.catalog.schema`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcn.catalog.schema import (
    CRYSTALS,
    TILES,
    RowError,
    depth_bin,
    tile_id,
    tile_table,
)

from ...fakes import catalog_rows

DESIGNED_CRYSTALS = (
    "crystal_id, tile_id, well, depth_m, depth_bin, shape, facet, confidence, p_rhombic, "
    "p_polyhedral, p_amorphous, p_spherical, bbox_x, bbox_y, bbox_w, bbox_h, centroid_x, "
    "centroid_y, touches_edge, area_px, equivalent_diameter_px, area_um2, "
    "equivalent_diameter_um, major_axis_um, minor_axis_um, feret_max_um, feret_min_um, "
    "perimeter_um, aspect_ratio, circularity, solidity, orientation_deg, corners, "
    "contact_fraction, roundness, completeness, mask_rle, "
    "predicted_iou, stability, segmenter, classifier, scanned_at"
)
DESIGNED_TILES = (
    "tile_id, uri, etag, well, depth_m, width, height, pixel_size_um, pixel_size_source, "
    "n_crystals, crystal_area_fraction, status, error, segmenter, classifier, scan_id, "
    "scanned_at, seconds, note, visible_pore_fraction, data_bar_y"
)


def test_columns_match_the_design():
    assert ", ".join(CRYSTALS.names) == DESIGNED_CRYSTALS
    assert ", ".join(TILES.names) == DESIGNED_TILES


@given(
    st.floats(-20_000, 20_000),
    st.sampled_from([0.1, 0.5, 1.0, 7.5, 100.0, 1000.0]),
)
def test_a_depth_lies_in_its_bin(depth: float, width: float):
    start = float(depth_bin(depth, width))
    slack = 1e-9 * max(1.0, abs(depth))
    assert start - slack <= depth < start + width + slack
    assert start == pytest.approx(round(start / width) * width)


def test_negative_depths_have_bins_and_zero_is_one_bin():
    bins = depth_bin([-100.0, -0.5, -0.0, 0.0, 99.9, 100.0], 100.0)
    assert bins.tolist() == [-100.0, -100.0, 0.0, 0.0, 0.0, 100.0]
    assert not np.signbit(bins[2])


def test_tile_id_is_stable():
    assert tile_id("s3://core/well=A/depth=1/a.tif") == "63a34da1ca549ba9fb46c121ed46c7f7"


def test_crystal_ids_depend_on_tile_models_and_number(make_tile, make_crystal):
    tile = make_tile()
    other = make_tile(classifier="nsr@ffffffffffff")
    rows = catalog_rows([(tile, [make_crystal()] * 2), (other, [make_crystal()])])
    first, second, third = rows["crystal_id"].to_pylist()
    assert first.startswith(tile.tile_id)
    assert first.endswith("-00000")
    assert second == first[:-1] + "1"
    assert third.endswith("-00000")
    assert third != first


def test_rows_have_columns_of_their_tile(make_tile, make_crystal):
    near, far = make_tile("n", "A", 150.0), make_tile("f", "B", -20.0)
    rows = catalog_rows([(near, [make_crystal()] * 2), (far, []), (far, [make_crystal()])], 50.0)
    assert rows.schema.equals(CRYSTALS)
    assert rows["well"].to_pylist() == ["A", "A", "B"]
    assert rows["depth_bin"].to_pylist() == [150.0, 150.0, -50.0]
    assert json.loads(rows["mask_rle"][0].as_py())["size"] == [48, 64]


def test_tables_without_rows_have_the_schema():
    assert catalog_rows([]).schema.equals(CRYSTALS)
    assert tile_table([]).schema.equals(TILES)


def test_unknown_pixel_size_leaves_micrometres_null(make_tile, make_crystal):
    crystal = make_crystal(area_um2=None, equivalent_diameter_um=None)
    rows = catalog_rows([(make_tile(), [crystal])])
    assert rows["area_um2"].null_count == rows["equivalent_diameter_um"].null_count == 1


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"well": ""}, "no well is given"),
        ({"well": "Ü" * 100}, "too long for a folder"),
        ({"depth_m": float("nan")}, "depth nan is not a number of metres"),
        ({"depth_m": float("inf")}, "depth inf is not a number of metres"),
        ({"depth_m": None}, "depth None is not a number of metres"),
    ],
)
def test_a_tile_without_well_or_depth_is_refused_and_named(make_tile, facts, reason):
    with pytest.raises(RowError, match=reason) as raised:
        make_tile("bad", **facts)
    assert "bad.tif" in str(raised.value)
    assert isinstance(raised.value, ValueError)
