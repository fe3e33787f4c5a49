"""One file per tile: every crystal once, in the picture's pixels."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from mcn.catalog.query import query
from mcn.catalog.selection import Selection
from mcn.catalog.storage import CatalogError
from mcn.catalog.store import Catalog
from mcn.catalog.tile_files.export_tiles import export_tiles


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_label_images_and_their_tables(core: Catalog, tmp_path: Path) -> None:
    exported = export_tiles(core, tmp_path / "out", "labels", Selection(["A"], (1200.0, 1230.0)))
    assert (exported.tiles, exported.crystals) == (4, 20)
    tiles = rows_of(exported.index)
    assert [tile["file"] for tile in tiles] == ["a0.tif", "a1.tif", "a2.tif", "a3.tif"]
    ids = []
    for tile in tiles:
        labels = tifffile.imread(tmp_path / "out" / tile["file"])
        assert labels.shape == (int(tile["height"]), int(tile["width"])) == (48, 64)
        assert np.unique(labels).tolist() == [0, 5]  # the five crystals lie on each other
        crystals = rows_of((tmp_path / "out" / tile["file"]).with_suffix(".csv"))
        assert [row["index"] for row in crystals] == ["1", "2", "3", "4", "5"]
        assert {row["tile_id"] for row in crystals} == {tile["tile_id"]}
        ids += [row["crystal_id"] for row in crystals]
    assert sorted(ids) == sorted(query(core, ["A"], (1200.0, 1230.0))["crystal_id"].to_pylist())


def test_a_file_of_outlines_per_tile(core: Catalog, tmp_path: Path) -> None:
    exported = export_tiles(core, tmp_path / "out", "geojson", Selection())
    assert (exported.tiles, exported.crystals) == (41, 201)
    for tile in rows_of(exported.index):
        written = json.loads((tmp_path / "out" / tile["file"]).read_text())
        assert written["type"] == "FeatureCollection"
        uris = {feature["properties"]["uri"] for feature in written["features"]}
        assert uris == {tile["uri"]}
        assert len(written["features"]) == int(tile["crystals"])


def test_tiles_without_crystals_and_of_one_name(
    catalog: Catalog, make_tile: Any, make_crystal: Any, commit: Any, tmp_path: Path
) -> None:
    tiles = [
        (make_tile(uri="/core/1/a b.tif"), [make_crystal()]),
        (make_tile(uri="/core/2/A b.tif"), []),
        (make_tile(uri="/core/3/c.tif"), []),
    ]
    commit(catalog, *tiles)
    exported = export_tiles(catalog, tmp_path / "out", "labels", Selection())
    names = {tile["file"] for tile in rows_of(exported.index)}
    assert names == {f"a_b-{tiles[0][0].tile_id[:12]}.tif", f"A_b-{tiles[1][0].tile_id[:12]}.tif",
                     "c.tif"}  # fmt: skip
    assert not tifffile.imread(tmp_path / "out" / "c.tif").any()


def test_what_cannot_be_written_is_named(core: Catalog, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no files of tiles as 'coco'; use one of labels, geo"):
        export_tiles(core, tmp_path / "out", "coco", Selection())
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError, match=r"cannot be written \(Not a directory\)"):
        export_tiles(core, tmp_path / "file" / "out", "labels", Selection())
    export_tiles(core, tmp_path / "out", "labels", Selection(["B 2/Ü"]))
    with pytest.raises(CatalogError, match="already holds an export"):
        export_tiles(core, tmp_path / "out", "labels", Selection(["B 2/Ü"]))
