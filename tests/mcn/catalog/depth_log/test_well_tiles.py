"""The tiles of a well and their crystals: in order, by their latest models, and corrected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mcn.catalog.correcting.changes import Change, correct
from mcn.catalog.depth_log.las import las_text
from mcn.catalog.depth_log.table import depth_log, is_corrected_log
from mcn.catalog.depth_log.well_tiles import read_well_tiles
from mcn.catalog.query import query
from mcn.catalog.store import Catalog
from mcn.catalog.textures.table import texture_table
from mcn.crystals import segmented_crystals
from mcn.mask import Mask
from mcn.morphology import measure
from mcn.taxonomy import SHAPES

from ..conftest import Commit, MakeCrystal, MakeTile


@pytest.fixture
def well(
    catalog: Catalog, make_tile: MakeTile, make_crystal: MakeCrystal, commit: Commit
) -> Catalog:
    """Two tiles at one depth and one below, two crystals of 5 × 6 pixels each; one failed."""

    def crystal(x: int) -> Any:
        masks = [Mask(x, 3, np.ones((6, 5), dtype=bool))]
        (row,) = segmented_crystals(masks, measure(masks, 48, 64, 0.1), 48, 64).to_pylist()
        return make_crystal("rhombic", **row)

    pairs = [
        (make_tile(name, "A", depth, crystal_area_fraction=0.5), [crystal(3), crystal(20)])
        for name, depth in (("b", 1200.0), ("a", 1200.0), ("c", 1204.0))
    ]
    pairs.append((make_tile("f", "A", 1202.0, status="failed", error="empty", width=None), []))
    commit(catalog, *pairs)
    return catalog


def correct_first(catalog: Catalog, operation: Any, **facts: Any) -> str:
    row = query(catalog, ["A"], limit=1).to_pylist()[0]
    ids = [] if operation == "add" else [row["crystal_id"]]
    change = Change(operation, row["tile_id"], "A", ids, seen=dict.fromkeys(ids), **facts)
    correct(catalog, change, "lab")
    return str(row["tile_id"])


def test_tiles_are_in_order_and_crystals_by_tile(well: Catalog) -> None:
    tiles = read_well_tiles(well, "A")
    assert tiles.depths.tolist() == [1200.0, 1200.0, 1204.0]
    assert tiles.failed.tolist() == [1202.0]
    ids = tiles.rows["tile_id"].to_pylist()
    assert ids[:2] == sorted(ids[:2])
    crystals = tiles.crystals(0, 3, ["confidence"])
    assert crystals["tile"].tolist() == [0, 0, 1, 1, 2, 2]
    assert crystals["is_euhedral"].tolist() == [1.0] * 6
    # The tile beside it, at the same depth, does not count.
    assert tiles.crystals(1, 2, [])["tile"].tolist() == [0, 0]
    assert tiles.columns()["height"].tolist() == [48.0] * 3


def test_corrected_logs_have_other_shapes_and_areas(well: Catalog) -> None:
    before = depth_log(well, "A", 2.0)
    assert depth_log(well, "A", 2.0, corrected=True).equals(before)
    correct_first(well, "shape", shape="spherical")
    assert depth_log(well, "A", 2.0).equals(before)
    log = depth_log(well, "A", 2.0, corrected=True)
    assert log["fraction_spherical"].to_pylist() == [0.25, None, 0.0]
    assert log["crystal_area_fraction"].equals(before["crystal_area_fraction"])
    assert is_corrected_log(log)
    assert not is_corrected_log(before)
    assert "Crystals as persons corrected" in las_text(log, "A", SHAPES)
    assert "CORR" not in las_text(before, "A", SHAPES).partition("~Curve")[0]
    correct_first(well, "delete")
    log = depth_log(well, "A", 2.0, corrected=True)
    assert log["n_crystals"].to_pylist() == [3, 0, 2]
    # One of two tiles lost a crystal of 30 pixels.
    assert log["crystal_area_fraction"][0].as_py() == pytest.approx(0.5 - 30 / (64 * 48) / 2)
    assert log["crystal_area_fraction"][2].as_py() == 0.5


def test_added_crystals_count_in_logs_and_textures(well: Catalog) -> None:
    square = Mask(40, 20, np.ones((10, 10), dtype=bool))
    correct_first(well, "add", shape="spherical", masks=(square,))
    log = depth_log(well, "A", 2.0, corrected=True)
    assert log["n_crystals"].to_pylist() == [5, 0, 2]
    assert log["crystal_area_fraction"][0].as_py() == pytest.approx(0.5 + 100 / (64 * 48) / 2)
    plain, corrected = (
        texture_table(well, "A", 2.0, corrected=corrected).slice(0, 1).to_pylist()[0]
        for corrected in (False, True)
    )
    assert (plain["n_crystals"], corrected["n_crystals"]) == (4, 5)
    assert (plain["euhedral"], corrected["euhedral"]) == (1.0, 0.8)
