"""Samples of every kind of file are decoded to the stored grey values."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from mcn.micrograph import (
    Limits,
    Micrograph,
    MicrographError,
    decode_micrograph,
    read_micrograph,
)
from mcn.micrograph.picture import DEFAULT_LIMITS

from .pictures import GREY, RGB, saved, tiff

RNG = np.random.default_rng(7)


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Micrograph:
    return decode_micrograph(data, "a.tif", limits=limits)


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize(
    "layout",
    [{}, {"tile": (32, 32)}, {"bigtiff": True}, {"byteorder": ">"}, {"rowsperstrip": 7}],
    ids=str,
)
def test_8_bits_are_unchanged(compression: str | None, layout: dict[str, object]) -> None:
    pixels = decode(tiff(GREY, compression=compression, **layout)).pixels
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, GREY)
    colour = tiff(RGB, photometric="rgb", compression=compression, **layout)
    assert np.array_equal(decode(colour).pixels, GREY)


def test_jpeg_is_read_directly_and_within_tiff() -> None:
    for data in (
        tiff(GREY, compression="jpeg"),
        tiff(RGB, compression="jpeg", photometric="rgb"),
        saved(Image.fromarray(RGB), "TIFF", compression="jpeg", quality=95),
        saved(Image.fromarray(GREY), "JPEG", quality=95),
        saved(Image.fromarray(RGB), "JPEG", quality=95, progressive=True),
    ):
        difference = decode(data).pixels.astype(int) - GREY
        assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_colours_transparency_and_palettes_are_converted_to_grey(mode: str, kind: str) -> None:
    assert np.array_equal(decode(saved(Image.fromarray(GREY).convert(mode), kind)).pixels, GREY)


def test_colours_are_weighted_as_luminance() -> None:
    colours = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(colours).convert("L")).astype(int)
    for data in (saved(Image.fromarray(colours), "PNG"), tiff(colours, photometric="rgb")):
        assert np.abs(decode(data).pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pixels_are_a_writable_block(kind: str, mode: str) -> None:
    flags = decode(saved(Image.fromarray(GREY).convert(mode), kind)).pixels.flags
    assert flags.c_contiguous
    assert flags.writeable


def test_separate_planes_and_white_as_zero() -> None:
    apart = tiff(np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate")
    assert np.array_equal(decode(apart).pixels, GREY)
    assert np.array_equal(decode(tiff(255 - GREY, photometric="miniswhite")).pixels, GREY)


def test_one_bit_is_black_and_white() -> None:
    expected = np.where(GREY > 120, 255, 0)
    image = Image.fromarray(GREY > 120)
    as_tiff = tiff(GREY > 120, photometric="minisblack")
    for data in (as_tiff, saved(image, "PNG"), saved(image, "TIFF")):
        assert np.array_equal(decode(data).pixels, expected)


def test_the_first_page_other_than_a_thumbnail_is_read() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(GREY[::4, ::4], subfiletype=1)
        writer.write(GREY)
        writer.write(255 - GREY)
    assert np.array_equal(decode(file.getvalue()).pixels, GREY)


def test_the_format_is_detected_from_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "really.png"
    path.write_bytes(tiff(GREY, compression="lzw"))
    assert np.array_equal(read_micrograph(path).pixels, GREY)


def test_size_is_refused_from_the_header_alone() -> None:
    png = bytearray(saved(Image.fromarray(GREY), "PNG"))
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    jpeg = bytearray(saved(Image.fromarray(GREY), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    bomb = bytearray(tiff(np.zeros((64, 64), dtype=np.uint8), compression="zlib", byteorder="<"))
    for code in (256, 257, 278):
        entry = bomb.index(struct.pack("<HH", code, 4 if code == 257 else 3)[:2], 8)
        kind = struct.unpack_from("<H", bomb, entry + 2)[0]
        struct.pack_into("<H" if kind == 3 else "<I", bomb, entry + 8, 60_000)
    for data in (bytes(png), bytes(jpeg), bytes(bomb)):
        assert len(data) < 2**20
        with pytest.raises(MicrographError, match="more than the limit of 250000000"):
            decode(data)
    with pytest.raises(MicrographError, match="bytes, more than the limit"):
        decode(tiff(GREY), Limits(max_bytes=100))
    with pytest.raises(MicrographError, match="90×60 pixels of 1 bytes"):
        decode(tiff(GREY), Limits(max_pixels=GREY.size - 1))
    decode(tiff(GREY), Limits(max_pixels=GREY.size))
    with pytest.raises(MicrographError, match="of 8 bytes"):
        decode(tiff(GREY.astype(np.float64)), Limits(max_pixels=GREY.size))


def test_tags_that_repeat_the_file_are_refused() -> None:
    tags = [(65_000 + index, 7, 60, bytes(60), True) for index in range(100)]
    data = bytearray(tiff(np.zeros((64, 64), dtype=np.uint8), extratags=tags, byteorder="<"))
    for code in range(65_000, 65_100):
        entry = data.index(struct.pack("<HHI", code, 7, 60))
        struct.pack_into("<II", data, entry + 4, len(data) - 8, 8)
    with pytest.raises(MicrographError, match="tags overlap"):
        decode(bytes(data))


def test_the_limit_includes_blocks_larger_than_the_picture() -> None:
    data = bytearray(tiff(GREY, tile=(64, 64), compression="lzw", byteorder="<"))
    for code in (322, 323):
        entry = data.index(struct.pack("<H", code) + struct.pack("<H", 4))
        data[entry + 8 : entry + 12] = struct.pack("<I", 65_520)
    with pytest.raises(MicrographError):
        decode(bytes(data))


def palette_tiff(indices: NDArray[np.uint8], colours: NDArray[np.uint16]) -> bytes:
    return tiff(indices, photometric="palette", colormap=colours)


@pytest.mark.parametrize("factor", [1, 256, 257])
@pytest.mark.parametrize("is_inverted", [False, True])
def test_palettes_of_8_and_16_bits(factor: int, is_inverted: bool) -> None:
    ramp = np.arange(256, dtype=np.uint16)
    levels = ramp[::-1] if is_inverted else ramp
    indices = 255 - GREY if is_inverted else GREY
    data = palette_tiff(indices, np.tile(levels * np.uint16(factor), (3, 1)))
    assert np.array_equal(decode(data).pixels, GREY)


@pytest.mark.parametrize("factor", [1, 257])
def test_colours_of_palettes_are_weighted(factor: int) -> None:
    colours = RNG.integers(0, 256, (3, 256)).astype(np.uint16)
    image = Image.fromarray(colours.T[GREY].astype(np.uint8))
    expected = np.asarray(image.convert("L")).astype(int)
    pixels = decode(palette_tiff(GREY, colours * np.uint16(factor))).pixels
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("transparency", [None, 1, "each"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_palettes_of_few_colours(bits: int, transparency: object, kind: str) -> None:
    levels = RNG.permutation(np.linspace(0, 255, 2**bits)).astype(np.uint8)
    indices = GREY >> (8 - bits)
    image = Image.fromarray(indices, "P")
    image.putpalette(np.repeat(levels, 3).tobytes())
    options: dict[str, object] = {"bits": bits} if kind == "PNG" else {}
    if transparency is not None and kind == "PNG":
        options["transparency"] = bytes(2**bits) if transparency == "each" else transparency
    assert np.array_equal(decode(saved(image, kind, **options)).pixels, levels[indices])


def test_a_transparent_grey_or_colour_of_png_keeps_its_grey() -> None:
    for image, transparent in (
        (Image.fromarray(GREY), 120),
        (Image.fromarray(np.dstack([GREY] * 3)), (120, 120, 120)),
    ):
        data = saved(image, "PNG", transparency=transparent)
        assert np.array_equal(decode(data).pixels, GREY)
