"""Pictures of tiles are read once, kept within a bound, and encoded as asked."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from mcn.micrograph import Limits
from mcn.micrograph.pyramid import Pyramid, Region
from serve.deployments.messages import JPEG, PNG, WEBP
from serve.deployments.tile_pictures import TilePictures, encode_region

PIXELS = np.arange(600 * 800, dtype=np.uint32).reshape(600, 800).astype(np.uint8)
CONTENT = bytes(imagecodecs.png_encode(PIXELS))


def row(name: str, etag: str | None = None) -> dict[str, Any]:
    return {"uri": f"{name}.png", "etag": etag, "pixel_size_um": None}


def test_requests_at_once_read_a_tile_once() -> None:
    reads, begun = [], threading.Barrier(4)

    def read(uri: str) -> bytes:
        reads.append(uri)
        return CONTENT

    pictures = TilePictures(read, Limits())

    def ask(_: int) -> Pyramid:
        begun.wait(30)
        return pictures.pyramid(row("a"))

    with ThreadPoolExecutor(4) as pool:
        pyramids = list(pool.map(ask, range(4)))
    assert reads == ["a.png"]
    assert len({id(pyramid) for pyramid in pyramids}) == 1


def test_a_tile_that_was_replaced_is_read_again() -> None:
    reads: list[str] = []
    pictures = TilePictures(lambda uri: reads.append(uri) or CONTENT, Limits())  # type: ignore[func-returns-value]
    for etag in ("1", "2", "2"):
        pictures.pyramid(row("a", etag))
    assert len(reads) == 2


def test_the_tiles_asked_for_last_are_kept_within_the_bound() -> None:
    reads: list[str] = []
    two = int(2.5 * Pyramid(PIXELS).nbytes)
    pictures = TilePictures(lambda uri: reads.append(uri) or CONTENT, Limits(), two)  # type: ignore[func-returns-value]
    for name in "abacab":
        pictures.pyramid(row(name))
    assert reads == ["a.png", "b.png", "c.png", "b.png"]


def test_a_tile_that_cannot_be_read_is_asked_for_again() -> None:
    contents = [b"", CONTENT]
    pictures = TilePictures(lambda uri: contents.pop(0), Limits())
    with pytest.raises(Exception, match=r"a\.png"):
        pictures.pyramid(row("a"))
    assert pictures.pyramid(row("a")).shape == (600, 800)


@pytest.mark.parametrize(("media_type", "name"), [(JPEG, "JPEG"), (WEBP, "WEBP"), (PNG, "PNG")])
def test_regions_are_encoded_as_asked(media_type: str, name: str) -> None:
    region = Region(0, 0, 800, 600, 200, 150)
    picture = Image.open(io.BytesIO(encode_region(Pyramid(PIXELS), region, media_type)))
    assert (picture.format, picture.size) == (name, (200, 150))
