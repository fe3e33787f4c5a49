"""Files of corrections are merged when there are many; the rest is tested over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mcn.catalog.corrected.rows import count_files
from mcn.catalog.correcting.changes import Change, correct
from mcn.catalog.query import query
from mcn.classify.data.readers import read_examples
from mcn.cli.main import app
from mcn.mask import Mask
from mcn.micrograph import Limits
from serve.deployments import corrections
from serve.deployments.catalog_reader import CatalogReader
from serve.deployments.messages import ChangeRequest, Content

from ..small_core import make_small_core


def test_many_files_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrections, "_MANY_FILES", 3)
    core = make_small_core(tmp_path)
    reader = CatalogReader(core.catalog.uri, 0.0, Limits())
    tile = core.tiles[0]
    ring = [[5, 5], [15, 5], [15, 17], [5, 5]]
    outline = {"type": "Polygon", "coordinates": [ring]}
    change = ChangeRequest("add", tile.tile_id, tile.well, (), "spherical", (outline,))
    for _ in range(5):
        assert isinstance(asyncio.run(reader.correct(change, "lab", {})), Content)
    assert count_files(core.catalog.uri, tile.well) == 2
    listed = asyncio.run(reader.corrections([tile.well], {}, 100, 0))
    assert isinstance(listed, Content)
    assert listed.body.count(b'"action":"add"') == 5


def test_corrections_are_exported_to_train_a_classifier_on(tmp_path: Path) -> None:
    core = make_small_core(tmp_path)
    tile = core.tiles[0]
    crystals = query(core.catalog, [tile.well], (tile.depth_m, tile.depth_m))
    ids = crystals["crystal_id"].to_pylist()
    correct(core.catalog, Change("shape", tile.tile_id, tile.well, ids[:3], "spherical"), "lab")
    correct(core.catalog, Change("delete", tile.tile_id, tile.well, ids[3:4]), "lab")
    outline = Mask(5, 5, np.ones((9, 9), dtype=bool))
    added = Change("add", tile.tile_id, tile.well, shape="amorphous", masks=[outline])
    correct(core.catalog, added, "lab")
    words = ["export", core.catalog.uri, str(tmp_path / "labels"), "--corrections"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    examples = read_examples(tmp_path / "labels")
    names = [examples.taxonomy.shapes[number] for number in examples.classes.tolist()]
    assert sorted(names) == ["amorphous", "spherical", "spherical", "spherical"]
