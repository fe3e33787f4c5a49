"""Names of wells and models that do not exist are answered with those that do."""

from __future__ import annotations

import pytest

from mcn.catalog.model_names import LATEST, ModelPair
from mcn.catalog.reading.lookup import find_models, known_wells, unknown_name
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.store import Catalog


def test_wells_and_their_tile_files(core: Catalog) -> None:
    tiles = core.snapshot().tiles
    assert known_wells(core, tiles, ()).num_rows == 3
    assert known_wells(core, tiles, ["A", "C"])["partition.well"].to_pylist() == ["A", "C"]
    with pytest.raises(CatalogQueryError, match="no well 'D'"):
        known_wells(core, tiles, ["A", "D"])


def test_models(core: Catalog) -> None:
    tiles = core.snapshot().tiles
    assert find_models(core, tiles) == LATEST
    assert find_models(core, tiles, ["A"], "comp") == ModelPair("compact@0123456789ab")
    with pytest.raises(CatalogQueryError, match="unknown segmenter 'x'"):
        find_models(core, tiles, ["A"], "x")


def test_what_is_said_of_an_unknown_name() -> None:
    assert "did you mean 'depth_m'" in unknown_name("column", "depth", ["depth_m", "well"])
    assert "there is none yet" in unknown_name("well", "A", [])
    assert unknown_name("well", "A", [f"long {n}" for n in range(20)]).endswith("…")
