"""`mcn textures` names textures and says what it cannot tell."""

from __future__ import annotations

import json
from pathlib import Path

from mcn.catalog.schema import Tile, tile_id, tile_table
from mcn.catalog.store import Catalog

from ....fakes import catalog_rows, crystal_row
from ..commands import mcn, refused


def test_textures_of_a_well(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "catalog")
    tile = Tile(
        tile_id=tile_id("/a.tif"), uri="/a.tif", well="A", depth_m=5.0, n_crystals=1, width=64,
        height=48, segmenter="s@000000000000", classifier="c@000000000000", scan_id="one",
    )  # fmt: skip
    catalog.commit(catalog_rows([(tile, [crystal_row()])]), tile_table([tile]))
    run = mcn("textures", catalog.uri, "--well", "A", "--format", "json")
    assert run.returncode == 0
    named = {row["scheme"]: row["texture"] for row in json.loads(run.stdout)}
    assert named["lambert_2006_form"] == "micro-rhombic"
    assert "cannot be told" in run.stderr
    refused(mcn("textures", catalog.uri, "--well", "A", "--schemes", "no.toml"), "no.toml")
