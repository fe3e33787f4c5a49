"""Tiles and crystals of a well by the latest models, or by those that are named."""

from __future__ import annotations

from mcn.catalog.model_names import LATEST, ModelPair
from mcn.catalog.reading.well_rows import read_crystals, read_tiles
from mcn.catalog.store import Catalog

from ..conftest import Commit, MakeCrystal, MakeTile

OTHER = "vit_h@ffffffffffff"


def test_crystals_are_those_of_the_tiles(
    catalog: Catalog, make_tile: MakeTile, make_crystal: MakeCrystal, commit: Commit
) -> None:
    commit(catalog, (make_tile("a"), [make_crystal()] * 3), (make_tile("b", depth_m=1250.0), []))
    commit(catalog, (make_tile("a", segmenter=OTHER), [make_crystal("spherical")] * 2))
    commit(catalog, (make_tile("c", "B"), [make_crystal()]))
    snapshot = catalog.snapshot()
    for models, shapes in (
        (LATEST, ["spherical"] * 2),
        (ModelPair(OTHER, None), ["spherical"] * 2),
        (ModelPair("compact@0123456789ab", None), ["rhombic"] * 3),
    ):
        tiles = read_tiles(catalog, snapshot, "A", models, ["status"])
        crystals = read_crystals(catalog, snapshot, "A", tiles, ["shape"])
        assert crystals["shape"].to_pylist() == shapes
        assert crystals.column_names == ["shape"]
    tiles = read_tiles(catalog, snapshot, "A", LATEST, [], depth=(1240.0, None))
    assert tiles["depth_m"].to_pylist() == [1250.0]
    crystals = read_crystals(catalog, snapshot, "A", tiles, ["shape"], depth=(1240.0, None))
    assert not crystals.num_rows
