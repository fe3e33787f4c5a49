"""Pixel size and data bar as each vendor writes them, for every width, from tags and sidecars.

Each case is a file with its true value.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcn.micrograph import decode_micrograph, read_micrograph
from mcn.micrograph.data_bar import find_data_bar
from mcn.micrograph.pixel_size import FileNotes, find_pixel_size

from .pictures import flat_tiff, tiff, with_bar

WIDTHS = (512, 640, 1024, 1280, 2048, 3072, 4096)
SIDECARS = ("{s}.txt", "{s}.TXT", "{s}.Hdr", "{s}.hdr", "{n}.txt", "{d}.txt", "{d}.hdr", "{D}.HDR")
PICTURES = ("a.tif", "B.TIF", "Tile 7.Tif", "x.y.tiff")
VENDOR = Path(__file__).parents[4] / "shared" / "data" / "vendor"
FIELD_UM = 5.965
"""Width of the field of view of every picture below."""

ZEISS_TAGS = {
    "own": "AP_MAG\r\nMag = 50.00 K X\r\n"
    "AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = {own:.6g} nm\r\n",
    "standard": "AP_PIXEL_SIZE\r\nPixel Size = {standard:.6g} nm\r\nAP_MAG\r\nMag = 50.00 K X\r\n",
    "both": "AP_PIXEL_SIZE\r\nPixel Size = {standard:.6g} nm\r\n"
    "AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = {own:.6g} nm\r\n",
    "one line": "AP_IMAGE_PIXEL_SIZE\tImage Pixel Size = {own:.6g} nm\r\n",
    "comma": "AP_PIXEL_SIZE\r\nPixel Size = {standard_comma} nm\r\n",
    "width": "AP_FIB_PIXEL_SIZE\r\nFIB Pixel Size = 624.9 nm\r\n"
    "AP_WIDTH\r\nWidth = 5.965 \xb5m\r\n",
    "numbers": "0\r\n0\r\n0\r\n{standard_m:.6e}\r\n1.0e+004\r\n68\r\nDP_ZOOM\r\nZoom = Off\r\n",
}


def zeiss(kind: str, width: int) -> str:
    own, standard = FIELD_UM * 1e3 / width, FIELD_UM * 1e3 / 1024
    return ZEISS_TAGS[kind].format(
        own=own,
        standard=standard,
        standard_comma=f"{standard:.6g}".replace(".", ","),
        standard_m=standard * 1e-9,
    )


def tagged(width: int, code: int, text: str) -> bytes:
    return flat_tiff(width, extratags=[(code, 2, 0, text.encode("latin-1"), True)])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ZEISS_TAGS)
def test_zeiss_at_every_width_from_tag_and_sidecar(kind: str, width: int) -> None:
    text, expected = zeiss(kind, width), pytest.approx(FIELD_UM / width, rel=1e-5)
    from_tag = decode_micrograph(tagged(width, 34118, text), "a.tif")
    assert (from_tag.pixel_size_um, from_tag.pixel_size_source) == (expected, "vendor")
    beside = decode_micrograph(flat_tiff(width), "a.tif", sidecar=text.replace("\r\n", "\n"))
    assert (beside.pixel_size_um, beside.pixel_size_source) == (expected, "vendor")


@pytest.mark.parametrize(("stored", "width"), [(1024, 512), (3072, 1024), (2048, 4096)])
def test_resized_zeiss_pictures(stored: int, width: int) -> None:
    text = zeiss("own", stored) + f"DP_IMAGE_STORE\r\nStore resolution = {stored} * 768\r\n"
    size = decode_micrograph(tagged(width, 34118, text), "a.tif").pixel_size_um
    assert size == pytest.approx(FIELD_UM / width, rel=1e-5)


@pytest.mark.parametrize(
    "key", ["AP_IMAGE_PIXEL_SIZE\nImage Pixel Size", "AP_PIXEL_SIZE\nPixel Size"]
)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("558.2 pm", 0.0005582),
        ("2.791 nm", 0.002791),
        ("1.116 um", 1.116),
        ("1.116 \xb5m", 1.116),
        ("1.116 \u03bcm", 1.116),
        ("1.116 ?m", 1.116),
        ("1.116 \ufffdm", 1.116),
        ("1.116 \xc2\xb5m", 1.116),
        ("1.116 \xce\xbcm", 1.116),
        ("1.116 \x83\xcam", 1.116),
        ("1,116 \xb5m", 1.116),
        ("0.02 mm", 20.0),
        ("0.0 fm", None),
        ("12 parsec", None),
    ],
)
def test_zeiss_units(key: str, value: str, expected: float | None) -> None:
    notes = FileNotes(vendor={34118: f"{key} = {value}\n"})
    size, source = find_pixel_size(notes, 1024)
    assert size == (expected and pytest.approx(expected, rel=1e-9))
    assert source == ("vendor" if expected else "unknown")


FEI = (
    "[Beam]\nBeam={beam}\n[Scan]\nPixelWidth={scan}\nPixelHeight={scan}\n"
    "[EScan]\nPixelWidth=1e-8\n[IScan]\nPixelWidth=2e-8\n"
    "[EBeam]\nHFW={field}\nVFW={down}\n[Image]\nResolutionX={columns}\nResolutionY={rows}\n"
)


@pytest.mark.parametrize(("stored", "width"), list(itertools.product((1024, 3072), WIDTHS)))
def test_fei_at_the_stored_width_and_others(stored: int, width: int) -> None:
    field = FIELD_UM * 1e-6
    fields = {"beam": "EBeam", "field": field, "down": field * 0.75, "columns": stored}
    text = FEI.format(scan=field / stored, rows=stored * 3 // 4, **fields)
    without = text.replace("PixelWidth", "Other").replace("PixelHeight", "Another")
    for written in (text, without):
        size = decode_micrograph(tagged(width, 34682, written), "a.tif").pixel_size_um
        assert size == pytest.approx(FIELD_UM / width, rel=1e-9)


def test_fei_by_the_beam_in_use() -> None:
    text = FEI.format(scan="", field="", down="", columns=1024, rows=768, beam="{beam}")
    for beam, expected in (("EBeam", 0.01), ("IBeam", 0.02)):
        notes = FileNotes(vendor={34680: text.format(beam=beam)})
        assert find_pixel_size(notes, 1024) == (expected, "vendor")


JEOL_FIELDS = [
    "1280um 960um",
    "1280 960 um",
    "1280um 960",
    "1280 960",
    "1280.000\xb5m 960.000\xb5m",
    "1280.000\u03bcm  960.000\u03bcm",
    "1280.000\x83\xcam 960.000\x83\xcam",
    "1.28mm 0.96mm",
    "1.28 mm 960 um",
    "1280000nm 960000nm",
    "1280 x 960 um",
    "1.28e3um 9.6e2um",
    "1280um",
    "1.3mm 1.0mm",
]


@pytest.mark.parametrize("size", ["$CM_FULL_SIZE 1280 960\n", "$CM_IMAGE_SIZE 1280 960\n", ""])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("field", JEOL_FIELDS)
def test_jeol_fields_of_view(field: str, width: int, size: str) -> None:
    text = f"$CM_FORMAT JEOL-SEM\n$CM_MAG 999\n{size}$CM_FIELD_OF_VIEW {field}\n"
    pixel_size = find_pixel_size(FileNotes(sidecar=text), width, height=width * 3 // 4)
    expected = (1300 if field.startswith("1.3") else 1280) / width
    assert pixel_size == (pytest.approx(expected, rel=1e-9), "vendor")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("lines", "field_um"),
    [
        ("$CM_MAG 50\n$$SM_MICRON_MARKER 500um\n$CM_FULL_SIZE 1280 960\n", 2560),
        ("$CM_MAG 50\n", 2560),
        ("$$CM_MAG x1,280\n", 100),
        ("$CM_MAG 1.28k\n", 100),
        ("$CM_MAG 50\n$SM_STANDARD_FIELD_SIZE 120.0 90.0\n", 2400),
        ("$CM_PIXEL_SIZE 100.0nm\n$CM_IMAGE_SIZE 1280 960\n$CM_MAG 7\n", 128),
        ("$$SM_MICRON_BAR 250\n$$SM_MICRON_MARKER 500um\n$CM_FULL_SIZE 1280 960\n", 2560),
        ("$$SM_MICRON_BAR 250\n$$SM_MICRON_MARKER 0.5mm\n$CM_FIELD_OF_VIEW 2560um 1920um\n", 2560),
    ],
)
def test_jeol_by_bar_size_and_magnification(lines: str, width: int, field_um: float) -> None:
    size = find_pixel_size(FileNotes(sidecar=lines), width, height=width * 3 // 4)
    assert size == (pytest.approx(field_um / width, rel=1e-9), "vendor")


@pytest.mark.parametrize("height", [960, 1024])
def test_jeol_fields_on_pictures_with_a_data_bar(height: int) -> None:
    notes = FileNotes(sidecar="$CM_FIELD_OF_VIEW 1280um 960um\n")
    assert find_pixel_size(notes, 1280, height=height) == (1.0, "vendor")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "lines",
    ["PixelSize=9.921875\r\nDataSize=1280x960\r\n", "Magnification=10000\r\nDataSize=1280x960\r\n"],
)
def test_hitachi_at_every_width(lines: str, width: int) -> None:
    text = f"[SemImageFile]\r\nInstructName=SU8230\r\n{lines}".replace("\r\n", "\n")
    size = find_pixel_size(FileNotes(sidecar=text), width)
    assert size == (pytest.approx(12.7 / width, rel=1e-9), "vendor")


@pytest.mark.parametrize(
    ("unit", "expected"), [("um", 0.25), ("&#181;m", 0.25), ("nm", 0.00025), ("m", None)]
)
def test_phenom_units(unit: str, expected: float | None) -> None:
    text = (
        f'<pixelWidth unit="{unit}">0.25</pixelWidth><pixelHeight unit="{unit}">0.25</pixelHeight>'
    )
    assert find_pixel_size(FileNotes(vendor={34683: text}), 1024)[0] == expected


TEXTS = {
    "zeiss": zeiss("standard", 64),
    "jeol": f"$CM_FIELD_OF_VIEW {FIELD_UM}um\r\n",
    "fei": f"[Scan]\r\nPixelWidth={FIELD_UM * 1e-6 / 64}\r\nPixelHeight={FIELD_UM * 1e-6 / 64}\r\n"
    "[Image]\r\nResolutionX=64\r\nResolutionY=48\r\n",
    "hitachi": f"[SemImageFile]\r\nPixelSize={FIELD_UM * 1e3 / 64}\r\n",
    "tescan": f"[MAIN]\r\nPixelSizeX={FIELD_UM * 1e-6 / 64}\r\n"
    f"PixelSizeY={FIELD_UM * 1e-6 / 64}\r\n",
}


@pytest.mark.parametrize("maker", TEXTS)
@pytest.mark.parametrize(("picture", "named"), list(itertools.product(PICTURES, SIDECARS)))
def test_every_vendor_with_every_sidecar_name(
    tmp_path: Path, picture: str, named: str, maker: str
) -> None:
    stem, _, ending = picture.rpartition(".")
    dashed = f"{stem}-{ending}"
    name = named.format(s=stem, n=picture, d=dashed.lower(), D=dashed.upper())
    (tmp_path / picture).write_bytes(flat_tiff(64))
    (tmp_path / name).write_bytes(TEXTS[maker].encode())
    micrograph = read_micrograph(tmp_path / picture)
    assert micrograph.pixel_size_um == pytest.approx(FIELD_UM / 64, rel=1e-5)


FEI_BAR = (
    "[Scan]\nPixelWidth=5e-8\n[Image]\nResolutionX=1024\nResolutionY=884\n"
    "[PrivateFei]\nDatabarHeight=59\n"
)
JEOL_SCAN = "$CM_FORMAT JEOL/SEM\n$CM_FULL_SIZE 1280 960\n"


@pytest.mark.parametrize("scale", [0.4, 0.5, 0.75, 1.0, 1.5, 2.0])
def test_a_scan_height_is_scaled_with_the_picture(scale: float) -> None:
    flat = np.full((round(943 * scale), round(1024 * scale)), 90, dtype=np.uint8)
    fei = decode_micrograph(tiff(flat, extratags=[(34682, "s", 0, FEI_BAR, True)]), "a.tif")
    assert fei.data_bar_y == pytest.approx(884 * scale, abs=1)
    flat = np.full((round(1024 * scale), round(1280 * scale)), 90, dtype=np.uint8)
    assert decode_micrograph(tiff(flat), "a.tif", sidecar=JEOL_SCAN).data_bar_y == pytest.approx(
        960 * scale, abs=1
    )


@pytest.mark.parametrize(
    ("height", "width"), [(943, 900), (700, 1024 // 2), (442, 512), (800, 800)]
)
def test_the_scan_height_of_a_cropped_picture_is_not_scaled(height: int, width: int) -> None:
    flat = np.full((height, width), 90, dtype=np.uint8)
    assert (
        decode_micrograph(
            tiff(flat, extratags=[(34682, "s", 0, FEI_BAR, True)]), "a.tif"
        ).data_bar_y
        is None
    )


def test_a_visible_bar_has_priority_over_a_height_without_width() -> None:
    picture = with_bar(768, 1024)
    small = np.asarray(Image.fromarray(picture).resize((512, 384), Image.Resampling.LANCZOS))
    notes = "[MAIN]\nPixelSizeX=4e-8\nImageStripSize=36\n"
    for pixels, expected in ((picture, 732), (small, 366)):
        micrograph = decode_micrograph(tiff(pixels), "a.tif", sidecar=notes)
        assert micrograph.data_bar_y == pytest.approx(expected, abs=3)
        assert find_data_bar(pixels) == pytest.approx(expected, abs=3)


@pytest.mark.skipif(not VENDOR.is_dir(), reason="../shared, with files of vendors, is absent")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("zeiss_smartsem_512px.tif", 0.01165),
        ("zeiss_data_bar.tif", 0.5933),
        ("jeol_jsm.tif", 2.0),
    ],
)
def test_real_files(name: str, expected: float) -> None:
    micrograph = read_micrograph(VENDOR / name)
    assert micrograph.pixel_size_um == pytest.approx(expected, rel=1e-4)
    assert micrograph.pixel_size_source == "vendor"
