"""Tests of `mcn.catalog.depth_log.plot`, by the colours of the pictures."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pyarrow as pa
import pytest

from mcn.catalog.depth_log.plot import depth_log_figure, panel_figure, write_png
from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.storage import CatalogError
from mcn.plots import SHAPE_COLOURS

from ....figures import near, render, texts


def example_log(**columns) -> pa.Table:
    defaults = {
        "depth_top": [1200.0, 1210.0, 1220.0],
        "depth_base": [1210.0, 1220.0, 1230.0],
        "n_tiles": [1, 0, 1],
        "n_crystals": [4, 0, 4],
        "fraction_rhombic": [1.0, None, 0.0],
        "fraction_polyhedral": [0.0, None, 0.0],
        "fraction_amorphous": [0.0, None, 0.0],
        "fraction_spherical": [0.0, None, 1.0],
        "fraction_euhedral_to_subhedral": [1.0, None, 0.0],
        "mean_equivalent_diameter_um": [2.0, None, 3.0],
        "q25_equivalent_diameter_um": [1.0, None, 2.0],
        "median_equivalent_diameter_um": [2.0, None, 3.0],
        "q75_equivalent_diameter_um": [3.0, None, 4.0],
        "crystal_area_fraction": [0.5, None, 0.6],
    }
    return pa.table(defaults | columns)


def test_depth_runs_downwards_and_gaps_stay_empty():
    figure = depth_log_figure(example_log(), "A 1")
    top, base = figure.axes[0].get_ylim()
    assert (top, base) == (1230.0, 1200.0)
    picture = render(figure)
    track = picture[:, : picture.shape[1] // 3]
    rhombic = np.nonzero(near(track, SHAPE_COLOURS["rhombic"]).sum(axis=1) > 100)[0]
    spherical = np.nonzero(near(track, SHAPE_COLOURS["spherical"]).sum(axis=1) > 100)[0]
    assert rhombic.max() < spherical.min()
    gap = spherical.min() - rhombic.max()
    assert gap == pytest.approx(len(rhombic), rel=0.1)
    assert figure.get_suptitle() == "Well A 1"


def test_depth_log_without_pixel_size_says_so():
    names = [name for name in example_log().column_names if name.endswith("_um")]
    unknown = {name: pa.nulls(3, pa.float64()) for name in names}
    figure = depth_log_figure(example_log(**unknown), "A")
    assert "pixel size" in texts(figure)
    assert render(figure).size


def test_depth_log_of_one_interval_is_drawn():
    assert render(depth_log_figure(example_log().slice(0, 1), "A")).size


def test_png_is_written(core, tmp_path):
    write_png(depth_log(core, "A"), "A", tmp_path / "a.png")
    assert matplotlib.image.imread(tmp_path / "a.png").std() > 0.1


def test_png_that_cannot_be_written(tmp_path):
    with pytest.raises(CatalogError, match=r"nowhere/a\.png: cannot be written"):
        write_png(example_log(), "A", tmp_path / "nowhere" / "a.png")


def test_intervals_and_whole_sizes_are_drawn():
    plain = render(depth_log_figure(example_log(), "A"))
    log = example_log(
        low_median_equivalent_diameter_um=[1.5, None, 2.5],
        high_median_equivalent_diameter_um=[2.5, None, 3.5],
        corrected_median_equivalent_diameter_um=[2.8, None, 3.8],
        low_corrected_median_equivalent_diameter_um=[2.6, None, 3.6],
        high_corrected_median_equivalent_diameter_um=[3.0, None, 4.0],
        few_tiles=[True, True, False],
    )
    figure = depth_log_figure(log, "A")
    drawn = render(figure)
    for colour in ("#9db4d3", "#c05a00"):
        assert near(drawn, colour).sum() > near(plain, colour).sum() + 50
    assert "median, whole" in figure.axes[2].get_legend_handles_labels()[1]
    assert "hatched: few" in figure.axes[4].get_title()


def test_zones_are_drawn_with_their_support():
    zones = pa.table(
        {
            "zone": [1, 2],
            "depth_top": [1200.0, 1220.0],
            "depth_base": [1220.0, 1230.0],
            "support": [None, 0.75],
        }
    )
    figure = depth_log_figure(example_log(), "A", zones)
    assert "75%" in texts(figure)
    assert near(render(figure), "#b3261e").sum() > 500


def test_wells_share_a_depth_axis_or_are_flattened_on_a_top():
    deeper = example_log(depth_top=[1300.0, 1310.0, 1320.0], depth_base=[1310.0, 1320.0, 1330.0])
    logs = {"A": example_log(), "B $x$ 大": deeper}
    figure = panel_figure(logs)
    assert figure.axes[0].get_ylim() == (1330.0, 1200.0)
    assert figure.axes[0].get_ylabel() == "Measured depth (m)"
    flat = panel_figure(logs, {"A": 1210.0, "B $x$ 大": 1310.0, "C": 1.0}, "Arab_D $")
    assert flat.axes[0].get_ylim() == (20.0, -10.0)
    assert flat.axes[0].get_ylabel() == "Depth below Arab_D $ (m)"
    assert near(render(flat), "#6b4fa0").sum() > 500


def test_panels_that_cannot_be_drawn():
    with pytest.raises(CatalogError, match="'B' has no top 'Arab'"):
        panel_figure({"A": example_log(), "B": example_log()}, {"A": 1210.0}, "Arab")
    with pytest.raises(CatalogError, match="give 1 to 12"):
        panel_figure({str(number): example_log() for number in range(13)})
