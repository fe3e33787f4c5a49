"""Pictures are read once, kept within a bound, and read again when they change."""

from __future__ import annotations

import io
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from mcn.micrograph import Limits
from serve.deployments import tile_pictures
from serve.deployments.iiif import PictureView
from serve.deployments.tile_pictures import (
    MissingPictureError,
    TilePictures,
    render,
    smaller_copies,
)

from ...waiting import DEADLINE_S


class Tiles:
    """Rows of tiles in a folder, and how often each was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, 0
        for number in range(3):
            self.write(number, number)

    def write(self, number: int, grey: int) -> None:
        pixels = np.full((300, 400), grey, np.uint8)
        pixels[0, 0] = 255
        tifffile.imwrite(self.folder / f"{number}.tif", pixels, metadata=None)

    def find(self, tile_id: str, well: str | None) -> dict[str, Any]:
        del well
        self.asked += 1
        path = self.folder / f"{tile_id}.tif"
        return {
            "tile_id": tile_id,
            "uri": str(path),
            "etag": str(path.stat().st_mtime_ns) if path.exists() else "gone",
            "pixel_size_um": 0.1,
            "scanned_at": datetime.now(UTC),
        }


def test_a_picture_is_read_once_by_many_requests(tmp_path: Path) -> None:
    tiles = Tiles(tmp_path)
    pictures = TilePictures(tiles.find, Limits())
    threads = [threading.Thread(target=pictures.get, args=("1", None)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert tiles.asked == 1
    assert pictures.get("1", None).pixels[5, 5] == 1


def test_memory_is_bounded(tmp_path: Path) -> None:
    tiles = Tiles(tmp_path)
    pictures = TilePictures(tiles.find, Limits(), most_bytes=200_000)
    for tile_id in "012":
        pictures.get(tile_id, None)
    pictures.get("2", None)
    assert tiles.asked == 3
    pictures.get("0", None)
    assert tiles.asked == 4


def test_a_changed_picture_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_pictures, "_TRUSTED_S", -1.0)
    tiles = Tiles(tmp_path)
    pictures = TilePictures(tiles.find, Limits())
    first = pictures.get("0", None)
    assert pictures.get("0", None) is first
    tiles.write(0, 77)
    assert pictures.get("0", None).pixels[5, 5] == 77
    assert pictures.get("0", None).version != first.version
    (tmp_path / "0.tif").unlink()
    with pytest.raises(MissingPictureError, match="no longer there"):
        pictures.get("0", None)


def test_parts_are_rendered_once_and_from_the_right_copy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (1000, 1300), dtype=np.uint8)
    levels = smaller_copies(pixels)
    assert [level.shape for level in levels] == [(1000, 1300), (500, 650), (250, 325), (125, 163)]
    view = PictureView(256, 128, 512, 512, 128, 128, "png")
    part = np.asarray(Image.open(io.BytesIO(render(levels, view))))
    np.testing.assert_array_equal(part, levels[2][32:160, 64:192])
    edge = PictureView(1200, 900, 100, 100, 50, 50, "png")
    assert Image.open(io.BytesIO(render(levels, edge))).size == (50, 50)
    pictures = TilePictures(Tiles(tmp_path).find, Limits())
    pyramid = pictures.get("1", None)
    view = PictureView(0, 0, 100, 100, 100, 100, "jpg")
    assert pictures.render(pyramid, view) is pictures.render(pyramid, view)
