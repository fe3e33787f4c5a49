"""A table of files: each maker, width, name of the sidecar and unit word, with the right value."""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mcn.micrograph import MicrographScaleError, decode_micrograph, read_micrograph
from mcn.micrograph.pixel_size import FileNotes, find_pixel_size
from mcn.micrograph.units import unit_um

WIDTHS = (512, 640, 1024, 1280, 2048, 3072, 4096)
SIDECARS = ("{s}.txt", "{s}.TXT", "{s}.Hdr", "{s}.hdr", "{n}.txt", "{d}.txt", "{d}.hdr", "{D}.HDR")
PICTURES = ("a.tif", "B.TIF", "Tile 7.Tif", "x.y.tiff")
VENDOR = Path(__file__).parents[4] / "shared" / "data" / "vendor"
FIELD_UM = 5.965
"""Width of the field of all pictures of the table."""

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


def tiff(width: int, height: int = 8, **options: object) -> bytes:
    file = io.BytesIO()
    pixels = np.full((height, width), 90, np.uint8)
    tifffile.imwrite(file, pixels, **{"metadata": None, **options})
    return file.getvalue()


def tagged(width: int, code: int, text: str) -> bytes:
    return tiff(width, extratags=[(code, 2, 0, text.encode("latin-1"), True)])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ZEISS_TAGS)
def test_zeiss_at_every_width_from_tag_and_sidecar(kind: str, width: int) -> None:
    text, expected = zeiss(kind, width), pytest.approx(FIELD_UM / width, rel=1e-5)
    from_tag = decode_micrograph(tagged(width, 34118, text), "a.tif")
    assert (from_tag.pixel_size_um, from_tag.pixel_size_source) == (expected, "vendor")
    beside = decode_micrograph(tiff(width), "a.tif", sidecar=text.replace("\r\n", "\n"))
    assert (beside.pixel_size_um, beside.pixel_size_source) == (expected, "vendor")


@pytest.mark.parametrize(("stored", "width"), [(1024, 512), (3072, 1024), (2048, 4096)])
def test_zeiss_pictures_resized_since(stored: int, width: int) -> None:
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
    told = {"beam": "EBeam", "field": field, "down": field * 0.75, "columns": stored}
    text = FEI.format(scan=field / stored, rows=stored * 3 // 4, **told)
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
    found = find_pixel_size(FileNotes(sidecar=text), width, height=width * 3 // 4)
    expected = (1300 if field.startswith("1.3") else 1280) / width
    assert found == (pytest.approx(expected, rel=1e-9), "vendor")


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
    found = find_pixel_size(FileNotes(sidecar=lines), width, height=width * 3 // 4)
    assert found == (pytest.approx(field_um / width, rel=1e-9), "vendor")


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
    found = find_pixel_size(FileNotes(sidecar=text), width)
    assert found == (pytest.approx(12.7 / width, rel=1e-9), "vendor")


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
def test_every_maker_under_every_name(tmp_path: Path, picture: str, named: str, maker: str) -> None:
    stem, _, ending = picture.rpartition(".")
    dashed = f"{stem}-{ending}"
    name = named.format(s=stem, n=picture, d=dashed.lower(), D=dashed.upper())
    (tmp_path / picture).write_bytes(tiff(64))
    (tmp_path / name).write_bytes(TEXTS[maker].encode())
    micrograph = read_micrograph(tmp_path / picture)
    assert micrograph.pixel_size_um == pytest.approx(FIELD_UM / 64, rel=1e-5)


@pytest.mark.parametrize(
    "code", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be"]
)
def test_every_code_page(tmp_path: Path, code: str) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(64))
    (tmp_path / "a.txt").write_bytes("$CM_FIELD_OF_VIEW 64.0\xb5m 48.0\xb5m\r\n".encode(code))
    assert read_micrograph(tmp_path / "a.tif").pixel_size_um == 1.0


def test_the_first_sidecar_that_tells_a_size_counts(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(64))
    (tmp_path / "a.txt").write_text("Found at noon; pixel size unknown.\n")
    (tmp_path / "a-tif.hdr").write_text("[MAIN]\nPixelSizeX=5e-8\n")
    assert read_micrograph(tmp_path / "a.tif").pixel_size_um == pytest.approx(0.05)
    (tmp_path / "a.txt").write_text("[SemImageFile]\nPixelSize=70\n")
    assert read_micrograph(tmp_path / "a.tif").pixel_size_um == pytest.approx(0.07)


UNITS = {
    1.0: "µm μm um UM Um micron microns Micron micrometer micrometers micrometre Micrometres "
    "&#181;m &#xB5;m &#xb5;m &micro;m &mu;m &amp;#181;m "
    "\\u00B5m \\u00b5m \\u03BCm Âµm Î¼m ?m \ufffdm",
    1e-3: "nm NM nanometer nanometers nanometre Nanometres ㎚",
    1e-6: "pm picometer picometres",
    1e-4: "Å \u212b A\u030a \\u00C5 \\u00c5 &#197; &Aring; angstrom Angstroms ångström Ã…",
    1e3: "mm MM millimeter millimeters millimetres",
    1e4: "cm centimeter centimetres",
    1e6: "m meter meters metre",
    25400.0: "in inch Inches",
    25400 / 72: "pt",
    25400 / 12: "li",
    304800.0: "ft feet",
    914400.0: "yd yards",
    1e9: "km",
}
FOREIGN_UNITS = {
    1.0: "Mikrometer Mikrometern Mikron micromètre micromètres micrómetros micrometri "
    "mikrometr micra мкм микрометр микрон \\u043C\\u043A\\u043C 微米 \\u5FAE\\u7C73 "
    "マイクロメートル ミクロン 마이크로미터 micron(s) µm/pixel",
    1e-3: "Nanometer nanomètre nan\\u00f3metros nanometri нм нанометров 纳米 奈米 "
    "ナノメートル nm/px",
    1e3: "Millimeter milímetros мм 毫米",
    1e4: "Zentimeter centímetros см 厘米",
}
NO_UNITS = (
    "pixel",
    "pixels",
    "px",
    "reference frame",
    "",
    " ",
    "Mm",
    "Pm",
    "kV",
    "second",
    "furlong",
)


@pytest.mark.parametrize(
    ("factor", "word"),
    [
        (factor, word)
        for units in (UNITS, FOREIGN_UNITS)
        for factor, words in units.items()
        for word in words.split()
    ],
)
def test_unit_words(factor: float, word: str) -> None:
    assert unit_um(word) == factor
    assert unit_um(f" {word}\0") == factor
    # A picture of OME and one of ImageJ whose pixels are 0.05 µm wide.
    written = f"{0.05 / factor:.12g}"
    ome = (
        f'<OME><Pixels PhysicalSizeX="{written}" PhysicalSizeXUnit="{word}" '
        f"PhysicalSizeY='{written}' PhysicalSizeYUnit='{word}'/></OME>"
    )
    assert find_pixel_size(FileNotes(description=ome), 64) == (pytest.approx(0.05), "ome")
    imagej = FileNotes(
        description=f"ImageJ=1.54f\nunit={word}\n",
        pixels_per_unit=factor / 0.05,
        pixels_per_unit_y=factor / 0.05,
    )
    assert find_pixel_size(imagej, 64) == (pytest.approx(0.05), "resolution")


@pytest.mark.parametrize("word", NO_UNITS)
def test_words_that_are_no_units(word: str) -> None:
    assert unit_um(word) is None
    notes = FileNotes(
        description=f"ImageJ=1.54f\nunit={word}\n", pixels_per_unit=20.0, unit_um=25400.0
    )
    assert find_pixel_size(notes, 64) == (None, "unknown")


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
    from mcn.micrograph.pixel_size import PixelSizeError

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
    wide = tiff(64, resolution=(2e5, 1e5), resolutionunit="CENTIMETER")
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
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, size: object) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(64))
    with pytest.raises(MicrographScaleError, match=r"a pixel size of .* is impossible; give 1e-06"):
        read_micrograph(tmp_path / "a.tif", pixel_size_um=size)  # type: ignore[arg-type]
    with pytest.raises(MicrographScaleError, match="is impossible"):
        decode_micrograph(tiff(64), "a.tif", pixel_size_um=size)  # type: ignore[arg-type]


@pytest.mark.skipif(not VENDOR.is_dir(), reason="the makers' files are not here")
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
