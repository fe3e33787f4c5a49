"""Names of wells and models that do not exist are answered with those that do."""

from __future__ import annotations

import pytest

from mcn.catalog.model_names import LATEST, ModelPair
from mcn.catalog.reading.lookup import find_models, known_wells
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
