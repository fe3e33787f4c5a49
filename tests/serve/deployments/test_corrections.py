"""Files of corrections are merged when there are many; the rest is tested over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mcn.catalog.corrected.rows import count_files
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
