"""The pictures of a file are counted; copies of a picture are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from mcn.micrograph import decode_micrograph

from .pictures import GREY, saved, tiff

SMALL = GREY[::2, ::2]


OTHER = np.random.default_rng(3).integers(0, 255, (40, 90), dtype=np.uint8)


def imagej(n: int) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.stack([GREY] * n), imagej=True)
    return file.getvalue()


def one_directory(n: int) -> bytes:
    """As ImageJ writes stacks over 4 GB: one directory, with the pictures one after another."""
    text = f"ImageJ=1.54f\nimages={n}\nslices={n}\n"
    return tiff(GREY, description=text) + GREY.tobytes() * (n - 1)


def ome(n: int) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.stack([GREY] * n), ome=True, metadata={"axes": "ZYX"})
    return file.getvalue()


def pyramid(tagged: bool) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(GREY, metadata=None, subifds=1 if tagged else 0)
        writer.write(SMALL, metadata=None, subfiletype=1 if tagged else 0)
        writer.write(GREY[::4, ::4], metadata=None, subfiletype=1 if tagged else 0)
    return file.getvalue()


def masked() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(GREY, metadata=None)
        writer.write(GREY > 9, metadata=None, subfiletype=4, photometric="mask")
    return file.getvalue()


def with_thumbnail() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(GREY[::5, ::5], metadata=None, subfiletype=1)
        writer.write(GREY, metadata=None)
        writer.write(OTHER, metadata=None)
    return file.getvalue()


def animated(n: int) -> bytes:
    frames = [Image.fromarray(np.roll(GREY, i, axis=1)) for i in range(n)]
    return saved(frames[0], "PNG", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("data", "pages"),
    [
        (tiff(GREY), 1),
        (tiff(GREY, GREY, OTHER), 3),
        (tiff(GREY, OTHER), 2),
        (tiff(*[GREY] * 200), 200),
        (imagej(5), 5),
        (one_directory(7), 7),
        (one_directory(7)[: -GREY.nbytes], 6),
        (ome(4), 4),
        (pyramid(tagged=True), 1),
        (pyramid(tagged=False), 1),
        (masked(), 1),
        (with_thumbnail(), 2),
        (tiff(GREY, SMALL[:20]), 2),
        (tiff(GREY, SMALL), 2),
        (tiff(GREY, SMALL, SMALL), 3),
        (tiff(GREY, GREY[::4, ::4], SMALL), 3),
        (tiff(GREY, OTHER, SMALL), 3),
        (animated(3), 3),
        (saved(Image.fromarray(GREY), "PNG"), 1),
        (saved(Image.fromarray(GREY), "JPEG"), 1),
    ],
)
def test_pages_are_counted_and_the_first_is_read(data: bytes, pages: int) -> None:
    micrograph = decode_micrograph(data, "a.tif")
    assert micrograph.pages == pages
    assert micrograph.pixels.shape == GREY.shape


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_are_counted_in_every_kind_of_tiff(order: str, bigtiff: bool) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=order, bigtiff=bigtiff) as writer:  # type: ignore[arg-type]
        for _ in range(3):
            writer.write(GREY, metadata=None)
    assert decode_micrograph(file.getvalue(), "a.tif").pages == 3


def test_a_broken_or_circular_chain_of_pages_is_counted_up_to_the_fault() -> None:
    data = bytearray(tiff(GREY, GREY))
    first = int.from_bytes(data[4:8], "little")
    link = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    for target in (first, len(data) + 50, 0):
        data[link : link + 4] = target.to_bytes(4, "little")
        assert decode_micrograph(bytes(data), "a.tif").pages == 1
