"""Single pictures as a command: rows, overlays, and one line for each unreadable picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .commands import mcn


def test_valid_and_broken_pictures(scanned: Path, tmp_path: Path) -> None:
    """Valid and broken pictures together: rows for the first, a line for the second, exit 1."""
    tile = next((scanned / "core").glob("well=*/depth=*/*.tif"))
    (tmp_path / "broken.tif").write_bytes(tile.read_bytes()[:500])
    run = mcn("segment", tile, tmp_path / "broken.tif", "--out", tmp_path / "out", "--json")
    assert run.returncode == 1
    assert "broken.tif" in run.stderr
    assert "Traceback" not in run.stderr
    (image,) = json.loads(run.stdout)["images"]
    assert image["image"] == str(tile)
    assert image["pixel_size_um"] > 0
    row = image["crystals"][0]
    assert set(row["mask_rle"]) == {"size", "counts"}
    assert row["equivalent_diameter_um"] > 0
    with Image.open(image["overlay"]) as picture:
        assert min(picture.size) > 300
    words = ("--columns", "all", "--limit", 1, "--format", "json")
    stored = json.loads(mcn("query", scanned / "catalog", *words).stdout)
    assert set(row) == set(stored[0])


def test_unread_pages_are_reported(tmp_path: Path) -> None:
    pixels = np.full((80, 100), 60, dtype=np.uint8)
    pixels[20:50, 30:60] = 180
    pages = [Image.fromarray(np.roll(pixels, i)) for i in range(3)]
    path = tmp_path / "-three\npages.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    words = ("segment", path, "--out", tmp_path / "out", "--segmenter", "watershed", "--json")
    run = mcn(*words)
    assert run.returncode == 0, run.stderr
    (image,) = json.loads(run.stdout)["images"]
    assert image["pages"] == 3
    lines = run.stderr.splitlines()
    assert sum("warning: " in line and "page 1 of 3 is read" in line for line in lines) == 1


@pytest.mark.long
def test_explain_adds_only_a_sheet(scanned: Path, tmp_path: Path) -> None:
    tile_path = next((scanned / "core").glob("well=*/depth=*/*.tif"))
    tile = tmp_path / "piece.png"
    with Image.open(tile_path) as picture:
        picture.crop((0, 0, 256, 256)).save(tile)
    plain = mcn("segment", tile, "--out", tmp_path / "plain", "--json")
    explained = mcn("segment", tile, "--out", tmp_path / "explained", "--json", "--explain")
    assert plain.returncode == explained.returncode == 0, explained.stderr
    files = {path.name for path in (tmp_path / "plain").iterdir()}
    sheet = f"{tile.stem}.explain.png"
    assert {path.name for path in (tmp_path / "explained").iterdir()} == files | {sheet}
    with Image.open(tmp_path / "explained" / sheet) as picture:
        assert min(picture.size) > 300
    (plain_image,), (explained_image,) = (
        json.loads(run.stdout)["images"] for run in (plain, explained)
    )
    assert plain_image.keys() == explained_image.keys()
    assert plain_image["crystals"]
    for row in plain_image["crystals"] + explained_image["crystals"]:
        del row["scanned_at"]
    assert plain_image["crystals"] == explained_image["crystals"]
