"""A sheet shows crystals of every shape, drawn at random but always the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mcn.catalog.figures.crystal_sheet import crystal_sheet, read_crops, sample_crystals
from mcn.catalog.selection import Selection
from mcn.catalog.storage import CatalogError, CatalogQueryError
from mcn.catalog.store import Catalog
from mcn.plots import SHAPE_COLOURS
from mcn.taxonomy import SHAPES

from ....figures import near, render


def test_a_sample_has_up_to_so_many_of_each_shape(core: Catalog) -> None:
    rows = sample_crystals(core, Selection(["A"]), each=7)
    counts = rows["shape"].to_pylist()
    assert {shape: counts.count(shape) for shape in SHAPES} == dict.fromkeys(SHAPES, 7)
    assert sample_crystals(core, Selection(["A"]), each=7).equals(rows)
    assert not sample_crystals(core, Selection(["A"]), each=7, seed=1).equals(rows)
    assert sample_crystals(core, Selection(), each=1000).num_rows == 201
    with pytest.raises(CatalogQueryError, match="there are no such crystals"):
        sample_crystals(core, Selection(["C"]))


def test_the_sheet_shows_the_crops(
    catalog: Catalog, make_tile: Any, make_crystal: Any, commit: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((48, 64), 200, np.uint8)).save(path)
    crystals = [make_crystal(shape) for shape in SHAPES[:3]]
    commit(catalog, (make_tile(uri=str(path)), crystals))
    rows = sample_crystals(catalog, Selection())
    crops, skipped = read_crops(catalog, Selection(), rows)
    assert not skipped
    assert len(crops) == 3
    picture = render(crystal_sheet(rows, crops, SHAPES, "All"))
    for shape in SHAPES[:3]:
        assert near(picture, SHAPE_COLOURS[shape]).sum() > 100


def test_tiles_that_are_gone_are_named(core: Catalog) -> None:
    rows = sample_crystals(core, Selection(["A"]), each=1)
    with pytest.raises(CatalogError, match="could be read again; first error"):
        read_crops(core, Selection(["A"]), rows)
