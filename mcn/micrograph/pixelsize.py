"""The width of a pixel in micrometres, as the microscope or the file tells it.

Where each maker keeps it:

- FEI and Thermo Fisher: TIFF tags 34680 (S-FEG) and 34682 (Helios and later), an INI text
  with `[Scan] PixelWidth` in metres, `[Image] ResolutionX/ResolutionY` for the scan without
  its data bar, `HorFieldsize` or `HFW` for the width of the field in metres [1]_ [2]_.
  Phenom desktop microscopes: tag 34683, XML with `<pixelWidth unit="um">` [3]_.
- Zeiss: TIFF tag 34118 (CZ_SEM), pairs of lines `AP_IMAGE_PIXEL_SIZE` and
  `Image Pixel Size = 2.791 nm`; old versions have only a fourth unnamed number, the pixel
  size in metres of a picture 1024 pixels wide [1]_ [2]_.
- TESCAN: TIFF tag 50431 or a sidecar NAME.hdr, INI text with `PixelSizeX` in metres and
  `ImageStripSize`, the height of the data bar [4]_.
- JEOL: sidecar NAME.txt, `$$SM_MICRON_BAR` in pixels, `$$SM_MICRON_MARKER` as length with
  unit, `$CM_FULL_SIZE` for the scan without its data bar [5]_.
- Hitachi: sidecar NAME.txt, section `[SemImageFile]`, `PixelSize` in nanometres [6]_.

References
----------
.. [1] tifffile, `read_fei_metadata`, `read_cz_sem` and its table of tags.
.. [2] RosettaSciIO, `rsciio/tiff/_api.py`, `_axes_fei` and `_axes_zeiss`.
.. [3] Tag 34683 in tifffile's table (FEI_TITAN); the XML as Phenom users parse it.
.. [4] Gwyddion, `modules/file/tescan.c`; NexusLIMS, TESCAN extractor.
.. [5] "JSM ScaleBar" plugin and "SEM Suite" macros for ImageJ (github.com/pjf32/EM-tool).
.. [6] Bio-Formats, `HitachiReader.java`; `SEM_Hitachi_Scale.ijm` of the same SEM Suite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

FEI_TAGS = (34680, 34682)
PHENOM_TAG = 34683
ZEISS_TAG = 34118
TESCAN_TAG = 50431
VENDOR_TAGS = (*FEI_TAGS, PHENOM_TAG, ZEISS_TAG, TESCAN_TAG)

# One picometre to one millimetre: what any electron microscope could mean.
_POSSIBLE_UM = (1e-6, 1e3)
# Resolution tags are as often left by a printer driver or a screen, so they need to look
# like a microscope's.
_PLAUSIBLE_UM = (0.0005, 50.0)
_PRINT_DPI = (600, 720, 800, 1200, 1440, 2400, 2880, 3600, 4800)

_UM = {
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "nm": 1e-3,
    "å": 1e-4,
    "pm": 1e-6,
    # SmartSEM writes the micro sign in a code page that is lost on the way.
    "?m": 1.0,
    "\ufffdm": 1.0,
}
_NUMBER = r"[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class FileNotes:
    """What a picture file says of itself besides its pixels.

    Parameters
    ----------
    vendor : dict of int to str
        Texts of the private TIFF tags in `VENDOR_TAGS`.
    description : str
        TIFF ImageDescription: OME-XML or ImageJ's notes.
    pixels_per_unit : float or None
        Horizontal resolution.
    unit_um : float or None
        Unit of the resolution in micrometres; None where the file gives none.
    sidecar : str
        Text of the NAME.txt or NAME.hdr beside the file.
    """

    vendor: dict[int, str] = field(default_factory=dict)
    description: str = ""
    pixels_per_unit: float | None = None
    unit_um: float | None = None
    sidecar: str = ""

    def beside(self, sidecar: str | None) -> FileNotes:
        """The same notes with those of a sidecar."""
        return replace(self, sidecar=sidecar) if sidecar else self


def find_pixel_size(
    notes: FileNotes, width: int, manifest: float | None = None
) -> tuple[float | None, str]:
    """Pixel size in micrometres and where it is from.

    Parameters
    ----------
    notes : FileNotes
        What the file says.
    width : int
        Width of the picture in pixels.
    manifest : float or None
        Pixel size the caller was given; first if it is a possible one.

    Returns
    -------
    pixel_size_um : float or None
    source : str
        "manifest", "vendor", "ome", "resolution", or "unknown" with None. Values that are
        not positive, not numbers or absurd are passed over for the next source.
    """
    if manifest is not None and _is_within(manifest, _POSSIBLE_UM):
        return float(manifest), "manifest"
    for size in _vendor_sizes(notes, width):
        if size is not None and _is_within(size, _POSSIBLE_UM):
            return _decimal(size), "vendor"
    size = _ome_size(notes.description)
    if size is not None and _is_within(size, _POSSIBLE_UM):
        return _decimal(size), "ome"
    size = _resolution_size(notes)
    if size is not None and _is_within(size, _PLAUSIBLE_UM) and not _is_print_default(size):
        return _decimal(size), "resolution"
    return None, "unknown"


def find_scan_height(notes: FileNotes, height: int, width: int) -> int | None:
    """Rows of the scan where the maker says that the picture has more, else None.

    What is below these rows is the data bar. Ignored where the picture is not as wide as
    the scan, since it has then been resized, and where it would take half of the picture.
    """
    for rows in _vendor_heights(notes, height, width):
        if rows is not None and height / 2 < rows < height:
            return int(rows)
    return None


def _is_within(size: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= size <= limits[1]


def _is_print_default(size_um: float) -> bool:
    return any(abs(25400 / size_um / dpi - 1) < 1e-3 for dpi in _PRINT_DPI)


def _decimal(size: float) -> float:
    """The number as it was written, without the rounding error of a change of units."""
    return float(f"{size:.12g}")


def _vendor_sizes(notes: FileNotes, width: int) -> Iterator[float | None]:
    for tag in FEI_TAGS:
        yield from _fei_sizes(notes.vendor.get(tag, ""))
    yield _length(_match(r"<pixelWidth\b[^<>]*>([^<]*)<", notes.vendor.get(PHENOM_TAG, "")), "um")
    yield from _zeiss_sizes(notes.vendor.get(ZEISS_TAG, ""), width)
    yield _length(_value("PixelSizeX", notes.vendor.get(TESCAN_TAG, "")), "m")
    yield _jeol_size(notes.sidecar, width)
    yield _length(_value("PixelSize", notes.sidecar), "nm")
    yield _length(_value("PixelSizeX", notes.sidecar), "m")


def _vendor_heights(notes: FileNotes, height: int, width: int) -> Iterator[float | None]:
    for tag in FEI_TAGS:
        image = _section("Image", notes.vendor.get(tag, ""))
        if _number(_value("ResolutionX", image)) == width:
            yield _number(_value("ResolutionY", image))
    strips = [
        _match(r"<databarHeight\b[^<>]*>([^<]*)<", notes.vendor.get(PHENOM_TAG, "")),
        _value("ImageStripSize", notes.vendor.get(TESCAN_TAG, "")),
        _value("ImageStripSize", notes.sidecar),
    ]
    for strip in map(_number, strips):
        yield None if strip is None else height - strip
    full = re.search(r"^\$CM_FULL_SIZE[ \t]+(\d{1,6})[ \t]+(\d{1,6})", notes.sidecar, re.MULTILINE)
    if full and int(full[1]) == width:
        yield float(full[2])


def _fei_sizes(text: str) -> Iterator[float | None]:
    for name in ("Scan", "EScan", "IScan"):
        yield _length(_value("PixelWidth", _section(name, text)), "m")
    columns = _number(_value("ResolutionX", _section("Image", text)))
    for name, key in (("Scan", "HorFieldsize"), ("EBeam", "HFW"), ("IBeam", "HFW")):
        field_um = _length(_value(key, _section(name, text)), "m")
        yield field_um / columns if field_um and columns else None


def _zeiss_sizes(text: str, width: int) -> Iterator[float | None]:
    for key in ("AP_IMAGE_PIXEL_SIZE", "AP_PIXEL_SIZE"):
        yield _length(_match(rf"^{key}[ \t]*\n[^=\n]*=([^\n]*)", text), "m")
    unnamed = text.split("\n", 4)[:4]
    if len(unnamed) == 4 and width > 0:
        size = _length(unnamed[3], "m")
        yield None if size is None else size * 1024 / width


def _jeol_size(text: str, width: int) -> float | None:
    """Marker length over bar length, at the width of the scan.

    The picture may have been saved at another width than that of the scan to which the
    bar refers.
    """
    bar = _number(_match(r"^\$+[SC]M_MICRON_BAR[ \t]+(\S+)", text))
    marker = _length(_match(r"^\$+[SC]M_MICRON_MARKER([^\n]*)", text), "um")
    if not bar or marker is None:
        return None
    scan_width = _number(_match(r"^\$CM_FULL_SIZE[ \t]+(\S+)", text))
    return marker / bar * (scan_width / width if scan_width and width else 1.0)


def _ome_size(description: str) -> float | None:
    pixels = _match(r"<(?:\w{1,32}:)?Pixels\b([^<>]*)>", description)
    if not pixels:
        return None
    unit = _match(r'\bPhysicalSizeXUnit\s*=\s*["\']([^"\']*)', pixels) or "um"
    return _length(_match(r'\bPhysicalSizeX\s*=\s*["\']([^"\']*)', pixels), unit)


def _resolution_size(notes: FileNotes) -> float | None:
    unit_um = notes.unit_um
    if notes.description.startswith("ImageJ="):
        # ImageJ keeps the unit of its resolution in the description.
        unit_um = _UM.get(_plain_unit(_value("unit", notes.description) or ""), unit_um)
    if not unit_um or not notes.pixels_per_unit:
        return None
    return unit_um / notes.pixels_per_unit


def _section(name: str, text: str) -> str:
    """Lines of an INI section, with its head."""
    start = f"\n{text}".find(f"\n[{name}]")
    if start < 0:
        return ""
    end = text.find("\n[", start)
    return text[start : None if end < 0 else end]


def _value(key: str, text: str) -> str | None:
    return _match(rf"^[ \t]*{key}[ \t]*=([^\n]*)", text)


def _match(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else None


def _number(text: str | None) -> float | None:
    found = re.match(rf"\s*({_NUMBER})", text or "")
    return float(found[1].replace(",", ".")) if found else None


def _length(text: str | None, unit: str) -> float | None:
    """Micrometres of a number with its own unit or else the given one."""
    found = re.match(rf"\s*({_NUMBER})\s*(\S*)", text or "")
    if not found:
        return None
    factor = _UM.get(_plain_unit(found[2] or unit))
    return None if factor is None else float(found[1].replace(",", ".")) * factor


def _plain_unit(text: str) -> str:
    # Both micro signs, and what UTF-8's looks like when read as Latin-1.
    plain = text.strip().strip("\0").replace("\\u00B5", "u").replace("Âµ", "u")
    plain = plain.replace("µ", "u").replace("μ", "u")
    return plain.lower().replace("micrometre", "micrometer").replace("angstrom", "å")
