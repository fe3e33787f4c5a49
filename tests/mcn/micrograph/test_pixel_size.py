"""The pixel size from each vendor, and the priority of sources."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mcn.micrograph import (
    Micrograph,
    MicrographScaleError,
    decode_micrograph,
    read_micrograph,
)
from mcn.micrograph.pixel_size import (
    FileNotes,
    PixelSizeError,
    find_pixel_size,
    find_scan_height,
    ignored_size,
)

from .pictures import flat_tiff

PIXELS = np.full((768, 1024), 90, dtype=np.uint8)

FEI = (
    "[User]\r\nUserText=grüße\r\n\r\n[Beam]\r\nBeam=EBeam\r\nScan=EScan\r\n\r\n"
    "[EBeam]\r\nHV=5000\r\nHFW=5.12e-005\r\n\r\n[EScan]\r\nPixelWidth=5e-008\r\n\r\n"
    "[Scan]\r\nPixelWidth={width}\r\nPixelHeight={width}\r\nHorFieldsize={field}\r\n\r\n"
    "[Image]\r\nResolutionX=1024\r\nResolutionY=700\r\n\r\n[PrivateFei]\r\nDatabarHeight=68\r\n"
)
ZEISS_NUMBERS = "0\r\n0\r\n0\r\n2.8e-008\r\n1.000507e+004\r\n"
ZEISS = (
    ZEISS_NUMBERS + "293\r\nDP_PIXEL_SIZE\r\nPix Size state = calibrated\r\n"
    "AP_PIXEL_SIZE\r\nPixel Size = 111.6 nm\r\n"
    "AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = {size}\r\nAP_MAG\r\nMag =  10.00 K X\r\n"
)
TESCAN = (
    "[MAIN]\r\nDate=2021-03-02\r\nImageStripSize=68\r\nMagnification=5000\r\n"
    "PixelSizeX=4.0690104e-8\r\nPixelSizeY=4.0690104e-8\r\n[SEM]\r\nHV=15000\r\n"
)
JEOL = (
    "$CM_FORMAT JEOL/SEM\r\n$CM_MAG 5000\r\n$CM_FULL_SIZE {size}\r\n"
    "$$SM_MICRON_BAR 160\r\n$$SM_MICRON_MARKER {marker}\r\n"
)
HITACHI = "[SemImageFile]\r\nInstructName=SU8000\r\nPixelSize=24.80469\r\nMicronMarker=5000\r\n"
PHENOM = (
    "<FeiImage><pixelWidth unit='um'>0.25</pixelWidth><databarHeight>68</databarHeight></FeiImage>"
)
OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels ID="Pixels:0" PhysicalSizeX="{size}"{unit} SizeX="1024"/>'
    "</Image></OME>"
)


def tiff(**options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, PIXELS, **{"metadata": None, "compression": "zlib", **options})
    return file.getvalue()


def vendor(code: int, text: str) -> bytes:
    return tiff(extratags=[(code, 2, 0, text.encode("latin-1"), True)])


def size_of(data: bytes, sidecar: str | None = None, manifest: float | None = None) -> Micrograph:
    return decode_micrograph(data, "a.tif", sidecar=sidecar, pixel_size_um=manifest)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (34682, FEI.format(width="2.5e-008", field="0"), 0.025),
        (34680, FEI.format(width="2.5e-008", field="0"), 0.025),
        (34682, FEI.format(width="-1", field="5.12e-5"), 0.05),
        (34682, "[Scan]\r\nHorFieldsize=5.12e-5\r\n[Image]\r\nResolutionX=1024\r\n", 0.05),
        (34683, PHENOM, 0.25),
        (34118, ZEISS.format(size="2.791 nm"), 0.002791),
        (34118, ZEISS.format(size="1.116 µm"), 1.116),
        (34118, ZEISS.format(size="1.116 ?m"), 1.116),
        (34118, ZEISS.format(size="558.2 pm"), 0.0005582),
        (34118, ZEISS.format(size="nonsense"), 0.1116),
        (34118, ZEISS_NUMBERS, 0.028),
        (50431, TESCAN, 0.040690104),
    ],
)
def test_private_tags(code: int, text: str, expected: float) -> None:
    micrograph = size_of(vendor(code, text))
    assert micrograph.pixel_size_um == pytest.approx(expected, rel=1e-9)
    assert micrograph.pixel_size_source == "vendor"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (JEOL.format(size="1024 700", marker="5um"), 5 / 160),
        (JEOL.format(size="1024 700", marker="100nm"), 0.1 / 160),
        (JEOL.format(size="1024 700", marker="1 mm"), 1000 / 160),
        (JEOL.format(size="2048 1400", marker="5um"), 2 * 5 / 160),
        (HITACHI, 0.02480469),
        (TESCAN, 0.040690104),
    ],
)
def test_sidecars(text: str, expected: float) -> None:
    for lines in (text, text.replace("\r\n", "\n")):
        micrograph = size_of(tiff(), sidecar=lines)
        assert micrograph.pixel_size_um == pytest.approx(expected, rel=1e-9)
        assert micrograph.pixel_size_source == "vendor"


@pytest.mark.parametrize(
    ("size", "unit", "expected"),
    [
        ("0.037", "", 0.037),
        ("37", ' PhysicalSizeXUnit="nm"', 0.037),
        ("3.7E-5", ' PhysicalSizeXUnit="mm"', 0.037),
        ("0.037", ' PhysicalSizeXUnit="µm"', 0.037),
        ("0.037", ' PhysicalSizeXUnit="\u03bcm"', 0.037),
    ],
)
def test_ome(size: str, unit: str, expected: float) -> None:
    description = OME.format(size=size, unit=unit)
    micrograph = size_of(tiff(extratags=[(270, 2, 0, description.encode(), True)]))
    assert micrograph.pixel_size_um == pytest.approx(expected, rel=1e-9)
    assert micrograph.pixel_size_source == "ome"


def test_ome_sizes_in_pixels_are_ignored() -> None:
    notes = FileNotes(description=OME.format(size="4", unit=' PhysicalSizeXUnit="pixel"'))
    assert find_pixel_size(notes, 1024) == (None, "unknown")


def test_ome_as_written_by_tifffile() -> None:
    notes = {"axes": "YX", "PhysicalSizeX": 50.0, "PhysicalSizeXUnit": "nm"}
    micrograph = size_of(tiff(ome=True, metadata=notes))
    assert (micrograph.pixel_size_um, micrograph.pixel_size_source) == (0.05, "ome")


def test_resolution_tags() -> None:
    per_cm = tiff(resolution=(1e4 / 0.05, 1e4 / 0.05), resolutionunit="CENTIMETER")
    assert size_of(per_cm).pixel_size_um == pytest.approx(0.05, rel=1e-6)
    assert size_of(per_cm).pixel_size_source == "resolution"
    per_inch = tiff(resolution=(25400 / 0.05, 25400 / 0.05), resolutionunit="INCH")
    assert size_of(per_inch).pixel_size_um == pytest.approx(0.05, rel=1e-6)
    no_unit = tiff(resolution=(20, 20), resolutionunit="NONE")
    assert size_of(no_unit).pixel_size_source == "unknown"
    imagej = tiff(imagej=True, resolution=(20, 20), metadata={"unit": "um"}, compression=None)
    assert (size_of(imagej).pixel_size_um, size_of(imagej).pixel_size_source) == (
        0.05,
        "resolution",
    )


def test_physical_pixels_of_a_png() -> None:
    def png(**options: object) -> bytes:
        file = io.BytesIO()
        Image.fromarray(PIXELS).save(file, "PNG", **options)
        return file.getvalue()

    micrograph = size_of(png(dpi=(508_000, 508_000)))
    assert (micrograph.pixel_size_um, micrograph.pixel_size_source) == (0.05, "resolution")
    assert size_of(png(dpi=(300, 300))).pixel_size_source == "unknown"


@pytest.mark.parametrize("dpi", [72, 96, 150, 300, 600, 1200, 2400])
def test_print_and_screen_defaults_are_ignored(dpi: int) -> None:
    micrograph = size_of(tiff(resolution=(dpi, dpi), resolutionunit="INCH"))
    assert (micrograph.pixel_size_um, micrograph.pixel_size_source) == (None, "unknown")
    per_cm = tiff(resolution=(dpi / 2.54, dpi / 2.54), resolutionunit="CENTIMETER")
    assert size_of(per_cm).pixel_size_source == "unknown"


def test_the_first_available_source_is_used() -> None:
    description = OME.format(size="0.3", unit="").encode()
    tags = [(270, 2, 0, description, True)]
    everything = tiff(
        extratags=[*tags, (34682, 2, 0, b"[Scan]\nPixelWidth=2e-7\n", True)],
        resolution=(1e4 / 0.4, 1e4 / 0.4),
        resolutionunit="CENTIMETER",
    )
    assert size_of(everything, manifest=0.1).pixel_size_um == 0.1
    assert size_of(everything, manifest=0.1).pixel_size_source == "manifest"
    assert size_of(everything).pixel_size_um == 0.2
    without_vendor = tiff(
        extratags=tags, resolution=(1e4 / 0.4, 1e4 / 0.4), resolutionunit="CENTIMETER"
    )
    assert size_of(without_vendor).pixel_size_um == 0.3
    assert size_of(without_vendor, sidecar=HITACHI).pixel_size_source == "vendor"


@pytest.mark.parametrize("absurd", [0.0, -1.0, math.nan, math.inf, 1e9])
def test_absurd_values_are_skipped(absurd: float) -> None:
    notes = FileNotes(vendor={34682: f"[Scan]\nPixelWidth={absurd}\n"}, sidecar=HITACHI)
    assert find_pixel_size(notes, 1024, manifest=absurd) == (0.02480469, "vendor")
    assert find_pixel_size(FileNotes(pixels_per_unit=absurd, unit_um=1e4), 1024)[1] == "unknown"


@pytest.mark.parametrize(
    ("notes", "ignored"),
    [
        (FileNotes(vendor={34682: "[Scan]\nPixelWidth=5\n"}), 5e6),
        (FileNotes(vendor={34682: "[Scan]\nPixelWidth=1e-18\n"}), 1e-12),
        (FileNotes(vendor={34682: "[Scan]\nPixelWidth=0\n"}), 0.0),
        (FileNotes(vendor={34682: "[Scan]\nPixelWidth=-2e-8\n"}), -0.02),
        (FileNotes(vendor={34682: "[Scan]\nPixelWidth=inf\n"}), math.inf),
        (
            FileNotes(vendor={34682: "[Scan]\nPixelWidth=NaN\n"}),
            math.nan,
        ),
        (FileNotes(sidecar="[SemImageFile]\nPixelSize=-1.#IND\n"), None),
        (FileNotes(description='<Pixels PhysicalSizeX="2" PhysicalSizeXUnit="m">'), 2e6),
        (FileNotes(sidecar=HITACHI), None),
        (FileNotes(description="<Pixels>"), None),
        (FileNotes(), None),
    ],
)
def test_an_impossible_size_is_said(notes: FileNotes, ignored: float | None) -> None:
    # NaN differs from itself.
    assert repr(ignored_size(notes, 1024)) == repr(ignored)


@given(st.text(max_size=300), st.sampled_from([34680, 34683, 34118, 50431]))
def test_any_text_can_be_read(text: str, code: int) -> None:
    notes = FileNotes(vendor={code: text}, description=text, sidecar=text)
    size, source = find_pixel_size(notes, 1024)
    assert (size is None) == (source == "unknown")
    find_scan_height(notes, 768, 1024)


def test_long_hostile_texts_are_read_quickly() -> None:
    for text in ("\n" * 500_000, " " * 500_000, "[Scan]\n" * 70_000, "<Pixels " * 60_000):
        notes = FileNotes(
            vendor={34682: text, 34118: text, 50431: text, 34683: text},
            description=text,
            sidecar=text,
        )
        assert find_pixel_size(notes, 1024) == (None, "unknown")


@pytest.mark.parametrize(
    ("data", "sidecar"),
    [
        (vendor(34682, FEI.format(width="5e-8", field="0")), None),
        (vendor(34683, PHENOM), None),
        (vendor(50431, TESCAN), None),
        (tiff(), TESCAN),
        (tiff(), JEOL.format(size="1024 700", marker="5um")),
    ],
)
def test_the_vendor_gives_the_height_of_the_scan(data: bytes, sidecar: str | None) -> None:
    micrograph = size_of(data, sidecar=sidecar)
    assert micrograph.data_bar_y == 700
    assert micrograph.analysed.shape == (700, 1024)


def test_an_implausible_scan_height_is_ignored() -> None:
    text = "[Image]\nResolutionX={}\nResolutionY={}\n"
    for columns, rows in ((2048, 700), (1024, 768), (1024, 0), (1024, 100), (1024, 9999)):
        notes = FileNotes(vendor={34682: text.format(columns, rows)})
        assert find_scan_height(notes, 768, 1024) is None


@pytest.mark.parametrize(
    "code", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be"]
)
def test_every_code_page(tmp_path: Path, code: str) -> None:
    (tmp_path / "a.tif").write_bytes(flat_tiff(64))
    (tmp_path / "a.txt").write_bytes("$CM_FIELD_OF_VIEW 64.0\xb5m 48.0\xb5m\r\n".encode(code))
    assert read_micrograph(tmp_path / "a.tif").pixel_size_um == 1.0


def test_the_first_sidecar_with_a_size_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(flat_tiff(64))
    (tmp_path / "a.txt").write_text("Found at noon; pixel size unknown.\n")
    (tmp_path / "a-tif.hdr").write_text("[MAIN]\nPixelSizeX=5e-8\n")
    assert read_micrograph(tmp_path / "a.tif").pixel_size_um == pytest.approx(0.05)
    (tmp_path / "a.txt").write_text("[SemImageFile]\nPixelSize=70\n")
    assert read_micrograph(tmp_path / "a.tif").pixel_size_um == pytest.approx(0.07)


OBLONG = {
    "ome": FileNotes(description='<Pixels PhysicalSizeX="0.05" PhysicalSizeY="0.1"/>'),
    "ome units": FileNotes(
        description='<Pixels PhysicalSizeX="50" PhysicalSizeXUnit="nm" '
        'PhysicalSizeY="0.1" PhysicalSizeYUnit="&#181;m"/>'
    ),
    "ome pixels": FileNotes(
        description='<Pixels PhysicalSizeX="1" PhysicalSizeXUnit="pixel" '
        'PhysicalSizeY="2" PhysicalSizeYUnit="pixel"/>'
    ),
    "imagej": FileNotes(
        description="ImageJ=1.54f\nunit=micron\n", pixels_per_unit=20.0, pixels_per_unit_y=10.0
    ),
    "imagej units": FileNotes(
        description="ImageJ=1.54f\nunit=nm\nyunit=um\n",
        pixels_per_unit=0.02,
        pixels_per_unit_y=10.0,
    ),
    "resolution": FileNotes(pixels_per_unit=2e5, pixels_per_unit_y=1e5, unit_um=1e4),
    "aspect": FileNotes(pixels_per_unit=2.0, pixels_per_unit_y=1.0),
    "fei": FileNotes(vendor={34682: "[Scan]\nPixelWidth=5e-8\nPixelHeight=6e-8\n"}),
    "fei field": FileNotes(
        vendor={34682: "[EBeam]\nHFW=5e-5\nVFW=5e-5\n[Image]\nResolutionX=64\nResolutionY=48\n"}
    ),
    "phenom": FileNotes(
        vendor={
            34683: "<pixelWidth unit='um'>0.2</pixelWidth><pixelHeight unit='um'>0.3</pixelHeight>"
        }
    ),
    "tescan": FileNotes(vendor={50431: "[MAIN]\nPixelSizeX=4e-8\nPixelSizeY=4.2e-8\n"}),
    "tescan sidecar": FileNotes(sidecar="[MAIN]\nPixelSizeX=4e-8\nPixelSizeY=8e-8\n"),
    "jeol": FileNotes(sidecar="$CM_FIELD_OF_VIEW 64um 24um\n$CM_FULL_SIZE 64 48\n"),
    "jeol without size": FileNotes(sidecar="$CM_FIELD_OF_VIEW 64um 24um\n"),
    "jeol with bar": FileNotes(
        sidecar="$CM_FIELD_OF_VIEW 64um 24um\n$CM_FULL_SIZE 64 48\n"
        "$$SM_MICRON_BAR 10\n$$SM_MICRON_MARKER 10um\n"
    ),
}


@pytest.mark.parametrize("kind", OBLONG)
def test_pixels_that_are_not_square_are_refused(kind: str) -> None:
    with pytest.raises(PixelSizeError, match=r"not square .*; resample"):
        find_pixel_size(OBLONG[kind], 64, height=48)
    assert find_pixel_size(OBLONG[kind], 64, manifest=0.5, height=48) == (0.5, "manifest")


@pytest.mark.parametrize(
    "notes",
    [
        FileNotes(description='<Pixels PhysicalSizeX="0.0500" PhysicalSizeY="0.0504"/>'),
        FileNotes(description='<Pixels PhysicalSizeX="0.05" PhysicalSizeY="0"/>'),
        FileNotes(description='<Pixels PhysicalSizeX="0.05" PhysicalSizeY="NaN"/>'),
        FileNotes(vendor={34682: "[Scan]\nPixelWidth=5e-8\nPixelHeight=-1\n"}),
        FileNotes(vendor={34682: "[Scan]\nPixelWidth=5e-8\nPixelHeight=\n"}),
        FileNotes(vendor={50431: "PixelSizeX=5.000e-8\nPixelSizeY=5.001e-8\n"}),
        FileNotes(pixels_per_unit=2e5, pixels_per_unit_y=0.0, unit_um=1e4),
    ],
)
def test_rounding_and_missing_heights_are_square(notes: FileNotes) -> None:
    assert find_pixel_size(notes, 64, height=48)[0] == pytest.approx(0.05)


def exif_resolution(x: float, y: float, unit: int = 3) -> Image.Exif:
    block = Image.Exif()
    block[282], block[283], block[296] = x, y, unit
    return block


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"dpi": (72, 72)}, None),
        ({"dpi": (300, 300)}, None),
        ({"dpi": (25400, 25400)}, 1.0),
        ({"dpi": (25400, 12700)}, "not square"),
        ({"dpi": (72, 144)}, "not square"),
        ({"exif": exif_resolution(20_000, 20_000)}, 0.5),
        ({"exif": exif_resolution(20_000, 10_000)}, "not square"),
        ({"exif": exif_resolution(72, 144, 2)}, "not square"),
        ({"exif": exif_resolution(72, 72, 2)}, None),
        ({"exif": exif_resolution(72, 72, 2), "dpi": (25400, 25400)}, 1.0),
        ({"exif": exif_resolution(72, 72, 2), "dpi": (72, 144)}, "not square"),
        ({"exif": b"Exif\0\0damaged"}, None),
    ],
)
def test_resolutions_of_jpeg_and_png(
    kind: str, options: dict[str, object], expected: float | str | None
) -> None:
    file = io.BytesIO()
    Image.new("L", (64, 48)).save(file, kind, **options)  # type: ignore[arg-type]
    if isinstance(expected, str):
        with pytest.raises(MicrographScaleError, match=expected):
            decode_micrograph(file.getvalue(), "a")
    else:
        size_um = decode_micrograph(file.getvalue(), "a").pixel_size_um
        assert size_um == (None if expected is None else pytest.approx(expected, rel=1e-4))


def test_files_whose_pixels_are_not_square_are_named() -> None:
    wide = flat_tiff(64, resolution=(2e5, 1e5), resolutionunit="CENTIMETER")
    with pytest.raises(MicrographScaleError, match=r"^a\.tif: its pixels are not square \(0\.05 ×"):
        decode_micrograph(wide, "a.tif")
    file = io.BytesIO()
    Image.new("L", (64, 48)).save(file, "PNG", dpi=(508_000, 254_000))
    with pytest.raises(MicrographScaleError, match="not square"):
        decode_micrograph(file.getvalue(), "b.png")
    assert decode_micrograph(wide, "a.tif", pixel_size_um=0.1).pixel_size_um == 0.1


@pytest.mark.parametrize(
    "size", [0, 0.0, -1.0, 1e-300, 1e-7, 1001.0, 1e9, float("nan"), float("inf"), "0.5", True]
)
def test_invalid_sizes_are_refused(tmp_path: Path, size: object) -> None:
    (tmp_path / "a.tif").write_bytes(flat_tiff(64))
    with pytest.raises(MicrographScaleError, match=r"a pixel size of .* is impossible; give 1e-06"):
        read_micrograph(tmp_path / "a.tif", pixel_size_um=size)  # type: ignore[arg-type]
    with pytest.raises(MicrographScaleError, match="is impossible"):
        decode_micrograph(flat_tiff(64), "a.tif", pixel_size_um=size)  # type: ignore[arg-type]
