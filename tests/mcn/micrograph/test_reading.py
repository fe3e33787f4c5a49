"""Files are read as grey pixels, or give one typed error."""

import logging
import warnings
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from mcn.errors import McnError
from mcn.micrograph import Limits, Micrograph, MicrographError, decode_micrograph, read_micrograph
from mcn.micrograph.picture import DEFAULT_LIMITS

from .pictures import GREY, saved, tiff

RNG = np.random.default_rng(7)


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Micrograph:
    return decode_micrograph(data, "a.tif", limits=limits)


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.uint32, np.float16, np.float32])
def test_wide_values_are_stretched_between_percentiles(kind: type[np.generic]) -> None:
    values = GREY.astype(kind)
    values[0, 0] = 30000
    pixels = decode(tiff(values)).pixels
    assert pixels.dtype == np.uint8
    assert (pixels[0, 0], pixels.min(), pixels.max()) == (255, 0, 255)
    # One hot pixel must not darken the rest.
    assert np.corrcoef(pixels[1:].ravel(), GREY[1:].ravel())[0, 1] > 0.999


def test_16_bit_png_keeps_its_depth() -> None:
    faint = GREY.astype(np.uint16) // 8 + 500
    pixels = decode(saved(Image.fromarray(faint), "PNG")).pixels
    assert np.unique(pixels).size > 20


def test_a_flat_or_nearly_black_picture_survives_the_stretch() -> None:
    assert decode(tiff(np.full((40, 50), 900, dtype=np.uint16))).pixels.max() == 0
    dots = np.zeros((100, 100), dtype=np.uint16)
    dots[3, 4] = 4000
    assert decode(tiff(dots)).pixels[3, 4] == 255


def test_a_white_data_bar_does_not_darken_a_16_bit_picture() -> None:
    scan = RNG.normal(3000, 300, (400, 512)).clip(0).astype(np.uint16)
    bar = np.full((30, 512), 65535, dtype=np.uint16)
    notes = "[Scan]\r\nPixelWidth=1e-8\r\n[Image]\r\nResolutionX=512\r\nResolutionY=400\r\n"
    data = tiff(np.vstack([scan, bar]), extratags=[(34682, "s", 0, notes, True)])
    micrograph = decode(data)
    assert micrograph.data_bar_y == 400
    assert micrograph.analysed.shape == (400, 512)
    assert micrograph.analysed.std() > 30


def test_nan_becomes_the_darkest_value() -> None:
    values = GREY.astype(np.float32)
    values[:5] = np.nan
    values[6, :3] = np.inf
    pixels = decode(tiff(values)).pixels
    assert pixels[:5].max() == 0
    assert pixels[6, :3].min() == 255
    with pytest.raises(MicrographError, match="finite"):
        decode(tiff(np.full((9, 9), np.nan, dtype=np.float32)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html></html>", "HTML"),
        (b"PK\x03\x04" + bytes(50), "zip"),
        (b"%PDF-1.7", "PDF"),
        (b"hello world, this is text", "of an unknown type"),
        (b"II*\0", "cut short"),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
        (b"\xff\xd8\xff", "damaged"),
        (tiff(GREY)[:-200], "cut short"),
        (tiff(GREY, compression="zstd")[:-200], "cut short"),
        (saved(Image.fromarray(GREY), "PNG")[:-200], "damaged"),
        (saved(Image.fromarray(GREY), "JPEG")[:-200], "damaged"),
        (saved(Image.fromarray(GREY > 120), "TIFF", compression="group4"), "CCITTFAX4"),
        (saved(Image.fromarray(GREY).convert("CMYK"), "TIFF"), "SEPARATED"),
        (tiff(GREY.astype(np.complex64)), "COMPLEX"),
        (
            tiff(np.zeros((9, 9, 7), np.uint8), photometric="minisblack", planarconfig="contig"),
            "7 samples",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unreadable_files_are_named_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(MicrographError, match=reason) as caught:
        decode_micrograph(data, "well=A/depth=12/tile.png")
    message = str(caught.value)
    assert message.startswith("well=A/depth=12/tile.png: ")
    assert "\n" not in message
    assert isinstance(caught.value, McnError)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(MicrographError, match=r"nothing\.tif: there is no such file"):
        read_micrograph(tmp_path / "nothing.tif")
    with pytest.raises(MicrographError, match="folder"):
        read_micrograph(tmp_path)
    with pytest.raises(MicrographError, match="nonsense://"):
        read_micrograph("nonsense://a/b.tif")


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    with path.open("wb") as file:
        file.truncate(600 * 2**20)
    with pytest.raises(MicrographError, match="629145600 bytes"):
        read_micrograph(path)


def test_uris_and_sidecars_are_read_through_fsspec() -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/core/a.tif", tiff(GREY))
    files.pipe("/core/a.txt", b"[SemImageFile]\r\nPixelSize=24.8\r\n")
    micrograph = read_micrograph("memory://core/a.tif")
    assert micrograph.pixel_size_um == pytest.approx(0.0248)
    assert (micrograph.pixel_size_source, micrograph.name) == ("vendor", "memory://core/a.tif")
    with_size = read_micrograph("memory://core/a.tif", pixel_size_um=0.5)
    assert (with_size.pixel_size_um, with_size.pixel_size_source) == (0.5, "manifest")


@pytest.mark.parametrize("name", ["B.TXT", "B.HDR", "B-TIF.HDR"])
def test_sidecars_of_upper_case_pictures_are_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "B.TIF").write_bytes(tiff(GREY))
    (tmp_path / name).write_text("[MAIN]\nPixelSizeX=5e-8\n", encoding="utf-16")
    assert read_micrograph(tmp_path / "B.TIF").pixel_size_um == pytest.approx(0.05)


def damaged_files(n: int) -> list[bytes]:
    """Pictures of each kind with flipped bits, replaced bytes or a truncated end."""
    image = Image.fromarray(GREY)
    sound = [
        tiff(GREY),
        tiff(GREY, compression="lzw", extratags=[(34682, "s", 0, "[Scan]\nPixelWidth=1e-8", True)]),
        tiff(GREY, compression="zlib", tile=(32, 32)),
        tiff(GREY, compression="jpeg"),
        tiff(GREY, compression="packbits"),
        tiff(GREY.astype(np.uint16), compression="zstd", bigtiff=True, byteorder=">"),
        tiff(GREY.astype(np.float32), compression="lzma", rowsperstrip=9),
        saved(image, "PNG"),
        saved(image.convert("P"), "PNG"),
        saved(image.convert("1"), "TIFF"),
        saved(image, "JPEG"),
    ]
    rng = np.random.default_rng(3)
    files = []
    for index in range(n):
        data = bytearray(sound[index % len(sound)])
        if rng.random() < 0.25:
            del data[rng.integers(len(data)) :]
        else:
            reach = len(data) if rng.random() < 0.5 else min(len(data), 300)
            for _ in range(rng.integers(1, 12)):
                data[rng.integers(reach)] ^= 1 << rng.integers(8)
        files.append(bytes(data))
    return files


def test_damaged_files_give_one_error_each_and_no_output(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    refusals = []
    with warnings.catch_warnings(record=True) as warning_list, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        for data in damaged_files(1000):
            try:
                micrograph = decode(data)
            except MicrographError as error:
                refusals.append(str(error))
            else:
                assert micrograph.pixels.dtype == np.uint8
                assert micrograph.pixels.size
    assert len(refusals) > 500
    assert all(text.startswith("a.tif: ") and "\n" not in text for text in refusals)
    assert not warning_list
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert capfd.readouterr().err == ""
