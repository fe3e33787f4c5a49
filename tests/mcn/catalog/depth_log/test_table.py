"""Tests of `mcn.catalog.depth_log.table`."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from mcn.catalog.depth_log.columns import depth_log_schema
from mcn.catalog.depth_log.table import depth_log, tile_depths_of_log, write_csv
from mcn.catalog.store import CatalogError
from mcn.taxonomy import SHAPES


def refused(action) -> str:
    with pytest.raises(CatalogError) as raised:
        action()
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_intervals_contain_their_tiles(core):
    log = depth_log(core, "A", 100.0)
    assert log.schema.equals(depth_log_schema(SHAPES))
    assert log["depth_top"].to_pylist() == [1200.0, 1300.0, 1400.0, 1500.0]
    assert log["depth_base"].to_pylist() == [1300.0, 1400.0, 1500.0, 1600.0]
    assert log["n_tiles"].to_pylist() == [10] * 4
    assert log["n_crystals"].to_pylist() == [50] * 4
    assert log["crystal_area_fraction"].to_pylist() == [0.5] * 4
    sizes = log["mean_equivalent_diameter_um"].to_numpy()
    assert sizes == pytest.approx([1.45, 2.45, 3.45, 4.45], abs=1e-6)
    assert log["median_equivalent_diameter_um"].to_numpy() == pytest.approx(sizes, abs=1e-6)
    assert log["q25_equivalent_diameter_um"][0].as_py() == pytest.approx(1.2, abs=1e-6)
    assert log["q75_equivalent_diameter_um"][0].as_py() == pytest.approx(1.7, abs=1e-6)


def test_fractions_of_shapes_and_facets(core):
    log = depth_log(core, "A", 10.0)
    fractions = np.column_stack([log[f"fraction_{shape}"].to_numpy() for shape in SHAPES])
    assert fractions.sum(axis=1) == pytest.approx(1.0)
    assert fractions[0].tolist() == [0.4, 0.2, 0.2, 0.2]
    euhedral = log["fraction_euhedral_to_subhedral"].to_numpy()
    assert euhedral == pytest.approx(fractions[:, :2].sum(axis=1))


def test_intervals_without_tiles_are_empty_rows(catalog, make_tile, make_crystal, commit):
    commit(
        catalog,
        (make_tile("a", depth_m=-7.0), [make_crystal()]),
        (make_tile("b", depth_m=22.0), []),
        (make_tile("c", depth_m=35.0, status="failed", crystal_area_fraction=None), []),
    )
    rows = depth_log(catalog, "A", 10.0).to_pylist()
    assert [row["depth_top"] for row in rows] == [-10.0, 0.0, 10.0, 20.0]
    assert [row["n_tiles"] for row in rows] == [1, 0, 0, 1]
    assert [row["n_crystals"] for row in rows] == [1, 0, 0, 0]
    assert all(row["few_tiles"] for row in rows)
    assert rows[1]["fraction_rhombic"] is rows[1]["crystal_area_fraction"] is None
    assert rows[3]["fraction_rhombic"] is None
    assert rows[3]["crystal_area_fraction"] == 0.5


def test_a_tile_of_several_models_counts_once(catalog, make_tile, make_crystal, commit):
    commit(catalog, (make_tile(), [make_crystal()] * 3))
    commit(catalog, (make_tile(segmenter="vit_h@ffffffffffff"), [make_crystal("spherical")] * 2))
    (row,) = depth_log(catalog, "A", 10.0).to_pylist()
    assert (row["n_tiles"], row["n_crystals"], row["fraction_spherical"]) == (1, 2, 1.0)


def test_failed_tiles_are_counted_where_they_lie(catalog, make_tile, make_crystal, commit):
    failed = {"status": "failed", "crystal_area_fraction": None, "error": "empty file"}
    commit(
        catalog,
        *((make_tile(f"a{n}", depth_m=float(n)), [make_crystal()]) for n in range(12)),
        *((make_tile(f"f{n}", depth_m=6.0 + n, **failed), []) for n in (0, 1, 40)),
    )
    log = depth_log(catalog, "A", 5.0)
    assert log["n_failed_tiles"].to_pylist() == [0, 2, 0]
    assert log["few_tiles"].to_pylist() == [True] * 3
    assert depth_log(catalog, "A", 20.0)["few_tiles"].to_pylist() == [False]


def test_a_window_is_one_interval_of_its_length(core):
    (row,) = depth_log(core, "A", 45.0, depth=(1205.0, 1250.0)).to_pylist()
    assert (row["depth_top"], row["depth_base"], row["n_tiles"]) == (1205.0, 1250.0, 5)
    rows = depth_log(core, "A", 20.0, depth=(1205.0, 1250.0)).to_pylist()
    assert [row["depth_top"] for row in rows] == [1205.0, 1225.0, 1245.0]
    assert [row["n_tiles"] for row in rows] == [2, 2, 1]
    (row,) = depth_log(core, "A", 1000.0, depth=(None, 1220.0)).to_pylist()
    assert (row["depth_top"], row["n_tiles"]) == (1000.0, 3)
    assert "at these depths" in refused(lambda: depth_log(core, "A", depth=(0.0, 5.0)))


def test_a_log_read_in_parts_is_the_same(core, monkeypatch):
    whole = depth_log(core, "A", 25.0)
    monkeypatch.setattr("mcn.catalog.depth_log.table._READ_CRYSTALS", 30)
    in_parts = depth_log(core, "A", 25.0)
    for name in whole.column_names:
        # Sums over all intervals are rounded otherwise than those of a part.
        assert in_parts[name].to_numpy() == pytest.approx(whole[name].to_numpy(), nan_ok=True), name


def test_tile_depths_come_with_the_log(core):
    assert tile_depths_of_log(depth_log(core, "A")).tolist() == [1200.0 + 10 * n for n in range(40)]


def test_step_is_chosen_from_the_tiles(core, catalog, make_tile, commit):
    log = depth_log(core, "A")
    assert log["depth_base"][0].as_py() - log["depth_top"][0].as_py() == 10.0
    commit(catalog, *((make_tile(str(n), depth_m=1000.0 + 70 * n), []) for n in range(8)))
    assert 4 <= depth_log(catalog, "A").num_rows <= 8
    assert depth_log(core, "B 2/Ü").num_rows == 1


def test_unknown_pixel_size_leaves_sizes_null(core):
    (row,) = depth_log(core, "B 2/Ü").to_pylist()
    assert row["mean_equivalent_diameter_um"] is None
    assert row["fraction_rhombic"] == 1.0


def test_invalid_logs_are_refused(core, catalog):
    assert "use one of 'A'" in refused(lambda: depth_log(core, "Z"))
    assert "no tile of well 'C' could be read" in refused(lambda: depth_log(core, "C"))
    assert "it has tiles from" in refused(lambda: depth_log(core, "A", depth=(9e3, 9.1e3)))
    assert "none yet" in refused(lambda: depth_log(catalog, "A"))
    for step in (0.0, -1.0, float("nan"), float("inf"), 1e300):
        assert "give one above 0" in refused(lambda step=step: depth_log(core, "A", step))
    assert "give a larger one" in refused(lambda: depth_log(core, "A", 1e-6))


def test_csv_has_the_columns_and_rows(core, tmp_path):
    log = depth_log(core, "A")
    write_csv(log, tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == depth_log_schema(SHAPES).names
    assert len(rows) == log.num_rows


def test_csv_that_cannot_be_written(core, tmp_path):
    nowhere = tmp_path / "nowhere"
    assert str(nowhere) in refused(lambda: write_csv(depth_log(core, "A"), nowhere / "a.csv"))
