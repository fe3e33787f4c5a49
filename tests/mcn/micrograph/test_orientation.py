"""Tests of `mcn.micrograph.orientation`, compared with Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mcn.micrograph import Micrograph, decode_micrograph
from mcn.micrograph.orientation import TAG, exif_orientation, turn, valid_orientation

from .pictures import GREY, saved, tiff, with_bar

ZEISS = Path(__file__).resolve().parents[4] / "shared" / "data" / "vendor" / "zeiss_data_bar.tif"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_rotated_as_by_pillow(orientation):
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = Image.fromarray(pixels)
    image.getexif()[TAG] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(turn(pixels, orientation), expected)


@pytest.mark.parametrize(("value", "expected"), [(6, 6), ((3,), 3), (0, 1), (9, 1), ("6", 1)])
def test_invalid_values_mean_upright(value, expected):
    assert valid_orientation(value) == expected


def test_orientation_is_read_from_exif():
    exif = Image.Exif()
    exif[TAG] = 8
    assert exif_orientation(exif.tobytes()) == 8
    assert exif_orientation(b"damaged") == 1


def decode(data: bytes) -> Micrograph:
    return decode_micrograph(data, "a.tif")


def turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A picture as Pillow shows it; other viewers agree."""
    image = Image.fromarray(pixels)
    image.getexif()[274] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


def exif(orientation: object) -> Image.Exif:
    block = Image.Exif()
    block[274] = orientation
    return block


def oriented(pixels: NDArray[np.uint8], kind: str, orientation: int) -> bytes:
    if kind == "TIFF":
        return tiff(pixels, extratags=[(274, 3, 1, orientation, True)])
    options = {"quality": 98, "subsampling": 0} if kind == "JPEG" else {}
    return saved(Image.fromarray(pixels), kind, exif=exif(orientation), **options)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_rotated_as_by_other_viewers(kind: str, orientation: int) -> None:
    pixels = decode(oriented(GREY, kind, orientation)).pixels
    expected = turned(GREY, orientation)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= (0 if kind != "JPEG" else 8)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.bool_])
def test_pictures_of_other_types_are_rotated(kind: type[np.generic]) -> None:
    values = GREY > 120 if kind is np.bool_ else GREY.astype(kind)
    data = tiff(values, extratags=[(274, 3, 1, 6, True)], photometric="minisblack")
    assert np.array_equal(
        decode(data).pixels, turned(decode(tiff(values, photometric="minisblack")).pixels, 6)
    )


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_invalid_orientation_is_ignored(orientation: int) -> None:
    for kind in ("TIFF", "PNG", "JPEG"):
        assert decode(oriented(GREY, kind, orientation)).pixels.shape == GREY.shape


def test_damaged_exif_is_ignored() -> None:
    for block in (b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", bytes(40)):
        data = saved(Image.fromarray(GREY), "JPEG", exif=block)
        assert decode(data).pixels.shape == GREY.shape


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_bar_is_found_in_the_rotated_picture(orientation: int) -> None:
    upright = with_bar()
    # Stored so that the picture is upright when shown.
    back = {6: 8, 8: 6}.get(orientation, orientation)
    micrograph = decode(oriented(turned(upright, back), "TIFF", orientation))
    assert np.array_equal(micrograph.pixels, upright)
    assert micrograph.data_bar_y == pytest.approx(348, abs=2)


@pytest.mark.parametrize("orientation", range(3, 9))
@pytest.mark.parametrize("has_notes", [True, False])
def test_a_bar_at_another_edge_is_masked(orientation: int, has_notes: bool) -> None:
    stored = with_bar()
    notes = "[Scan]\nPixelWidth=1e-8\n[Image]\nResolutionX=512\nResolutionY=348\n"
    tags = [(274, 3, 1, orientation, True), *([(34682, "s", 0, notes, True)] if has_notes else [])]
    micrograph = decode(tiff(stored, extratags=tags))
    assert micrograph.data_bar_y is None
    back = turned(micrograph.pixels, {6: 8, 8: 6}.get(orientation, orientation))
    assert back[349:].std() == 0
    assert np.array_equal(back[:345], stored[:345])
    assert micrograph.pixel_size_um == (pytest.approx(0.01) if has_notes else None)


@pytest.mark.skipif(not ZEISS.is_file(), reason="../shared, with files of vendors, is absent")
def test_vendor_sizes_refer_to_stored_columns() -> None:
    data = ZEISS.read_bytes()
    before = decode(data)
    with tifffile.TiffFile(ZEISS) as file:
        tag = file.pages.first.tags[34118]
        text = data[tag.valueoffset : tag.valueoffset + tag.valuebytecount]
        grey = file.pages.first.asarray()
    options = [(34118, 2, 0, text, True), (274, 3, 1, 8, True)]
    turned_ = decode(tiff(grey, extratags=options))
    assert turned_.pixels.shape == before.pixels.shape[::-1]
    assert turned_.pixel_size_um == before.pixel_size_um
