"""Pixel sizes written by microscope vendors in TIFF tags and sidecar texts.

Each is the size of a pixel of the picture as the instrument stored it. If the text also gives the
stored width, or the size refers to a fixed width, it is converted to the width of this picture,
which may have been resized since.

- FEI and Thermo Fisher: TIFF tags 34680 (S-FEG) and 34682 (Helios and later) or a sidecar of
  the same text, an INI text with `[Scan] PixelWidth` and `PixelHeight` in metres,
  `[Image] ResolutionX/ResolutionY` for the scan without its data bar, `HorFieldsize` or `HFW`
  for the width of the field in metres [1]_ [2]_. Phenom desktop microscopes: tag 34683, XML with
  `<pixelWidth unit="um">` [3]_.
- Zeiss: TIFF tag 34118 (CZ_SEM), or a sidecar of the same text: pairs of lines
  `AP_IMAGE_PIXEL_SIZE` and `Image Pixel Size = 2.791 nm`, the pixel of the stored picture;
  `AP_PIXEL_SIZE`, the pixel of a picture 1024 pixels wide, whatever was stored; a fourth
  unnamed number, the same in metres; `AP_WIDTH`, the width of the field [1]_ [2]_.
- TESCAN: TIFF tag 50431 or a sidecar, INI text with `PixelSizeX` and `PixelSizeY` in metres
  and `ImageStripSize`, the height of the data bar [4]_.
- JEOL: sidecar with `$$SM_MICRON_BAR` in pixels and `$$SM_MICRON_MARKER` as length with unit;
  `$CM_FIELD_OF_VIEW`, width and height of the field; `$CM_PIXEL_SIZE`; `$CM_MAG`, the
  magnification on a photograph of `$SM_STANDARD_FIELD_SIZE` (128 × 96 mm); `$CM_FULL_SIZE` or
  `$CM_IMAGE_SIZE`, pixels of the scan without its data bar [5]_ [7]_.
- Hitachi: sidecar, section `[SemImageFile]`, `PixelSize` in nanometres and `DataSize` in
  pixels, or `Magnification` on a photograph 127 mm wide [6]_.

References
----------
.. [1] tifffile, `read_fei_metadata`, `read_cz_sem` and its table of tags.
.. [2] RosettaSciIO, `rsciio/tiff/_api.py`, `_axes_fei` and `_axes_zeiss`.
.. [3] Tag 34683 in tifffile's table (FEI_TITAN); the XML as Phenom users parse it.
.. [4] Gwyddion, `modules/file/tescan.c`; NexusLIMS, TESCAN extractor.
.. [5] "JSM ScaleBar" plugin and "SEM Suite" macros for ImageJ (github.com/pjf32/EM-tool).
.. [6] Bio-Formats, `HitachiReader.java`; `SEM_Hitachi_Scale.ijm` of the same SEM Suite.
.. [7] pynxtools-em, `image_tiff_jeol`; a JSM-7100F picture among the examples of odemis, whose
   bar of 500 µm at 50 times is 250 of 1280 pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from mcn.micrograph.units import length_um, lengths_um, number

FEI_TAGS: Final = (34680, 34682)
PHENOM_TAG: Final = 34683
ZEISS_TAG: Final = 34118
TESCAN_TAG: Final = 50431
VENDOR_TAGS: Final = (*FEI_TAGS, PHENOM_TAG, ZEISS_TAG, TESCAN_TAG)

_ZEISS_WIDTH: Final = 1024
_JEOL_PHOTO: Final = "128 96"
_HITACHI_PHOTO_UM: Final = 127e3
# A data bar may take this part of the height and not be included in the field of view.
_MAX_BAR: Final = 0.15
_MAX_ASPECT: Final = 4.0


class Pixel(NamedTuple):
    """Size of a pixel according to a text.

    Parameters
    ----------
    width_um : float or None
        Micrometres; None if the text does not give it.
    height_um : float or None
        Micrometres; None if the text gives only the width.
    error : float
        Relative error of the ratio of height to width, from the digits they are written with.
    """

    width_um: float | None
    height_um: float | None = None
    error: float = 0.0

    def times(self, factor: float) -> Pixel:
        """The pixel of the same picture at another width."""
        width, height = (
            None if size is None else size * factor for size in (self.width_um, self.height_um)
        )
        return Pixel(width, height, self.error)


def vendor_pixels(
    tags: Mapping[int, str], sidecar: str, width: int, height: int | None
) -> Iterator[Pixel]:
    """Pixel sizes in the vendors' texts, the most certain first.

    Parameters
    ----------
    tags : mapping of int to str
        Texts of the TIFF tags in `VENDOR_TAGS`.
    sidecar : str
        Text of the file beside the picture.
    width, height : int
        The picture's size in pixels, data bar included.
    """
    for tag in FEI_TAGS:
        yield from _fei_pixels(tags.get(tag, ""), width)
    yield _phenom_pixel(tags.get(PHENOM_TAG, ""))
    yield from _zeiss_pixels(tags.get(ZEISS_TAG, ""), width)
    yield _tescan_pixel(tags.get(TESCAN_TAG, ""))
    yield from _jeol_pixels(sidecar, width, height)
    yield from _hitachi_pixels(sidecar, width)
    yield _tescan_pixel(sidecar)
    yield from _fei_pixels(sidecar, width)
    # Texts of other vendors also contain widths and pixel sizes.
    if re.search(r"\b[AD]P_[A-Z]|Image Pixel Size", sidecar):
        yield from _zeiss_pixels(sidecar, width)


def vendor_scan_heights(
    tags: Mapping[int, str], sidecar: str, height: int, width: int
) -> Iterator[float | None]:
    """Rows of the scan without its data bar, from the vendors' texts.

    If a text gives the width and height of the scan, the rows are scaled to a resized picture,
    provided that scan and bar together have the picture's shape; otherwise it was cropped.
    """
    for text in (*(tags.get(tag, "") for tag in FEI_TAGS), sidecar):
        image = _section("Image", text)
        columns, rows = (number(_value(f"Resolution{axis}", image)) for axis in "XY")
        bar = number(_value("DatabarHeight", _section("PrivateFei", text)))
        yield _rows_here(columns, rows, bar, height, width)
    columns, rows = _jeol_scan(sidecar)
    # JEOL puts a sixteenth of the picture below the scan: 1280 × 1024 for 1280 × 960.
    yield _rows_here(columns, rows, rows and rows / 15, height, width)


def vendor_bar_heights(tags: Mapping[int, str], sidecar: str) -> Iterator[float | None]:
    """Rows of the data bar in the picture as first saved, from the vendors' texts."""
    yield number(_match(r"<databarHeight\b[^<>]*>([^<]*)<", tags.get(PHENOM_TAG, "")))
    yield number(_value("ImageStripSize", tags.get(TESCAN_TAG, "")))
    yield number(_value("ImageStripSize", sidecar))


def _rows_here(
    columns: float | None, rows: float | None, bar: float | None, height: int, width: int
) -> float | None:
    """Rows of a scan in this picture; None if the picture was cropped or reshaped."""
    if not columns or not rows or columns == width:
        return rows if columns else None
    scale = width / columns
    if bar is None or abs((rows + bar) * scale - height) > max(1.0, scale):
        return None
    return round(rows * scale)


def _fei_pixels(text: str, width: int) -> Iterator[Pixel]:
    image = _section("Image", text)
    columns, rows = (number(_value(f"Resolution{axis}", image)) for axis in "XY")
    is_ion = (_value("Beam", _section("Beam", text)) or "").strip().lower() == "ibeam"
    beams = ("I", "E") if is_ion else ("E", "I")
    for name in ("Scan", *(f"{beam}Scan" for beam in beams)):
        section = _section(name, text)
        pixel = _sides(_value(f"Pixel{side}", section) for side in ("Width", "Height"))
        yield pixel.times(_shrunk(columns, width))
    for name, across, down in (
        ("Scan", "HorFieldsize", "VerFieldsize"),
        *((f"{beam}Scan", "HorFieldsize", "VerFieldsize") for beam in beams),
        *((f"{beam}Beam", "HFW", "VFW") for beam in beams),
    ):
        section = _section(name, text)
        across_um, down_um = (length_um(_value(key, section), "m") for key in (across, down))
        if across_um and width > 0:
            rows_here = rows / columns * width if rows and columns else None
            yield Pixel(across_um / width, down_um and rows_here and down_um / rows_here)


def _phenom_pixel(text: str) -> Pixel:
    sides = []
    for side in ("Width", "Height"):
        unit = _match(rf"<pixel{side}\b[^<>]*\bunit\s*=\s*[\"']([^\"'<>]*)", text)
        sides.append(length_um(_match(rf"<pixel{side}\b[^<>]*>([^<]*)<", text), unit or "um"))
    return Pixel(sides[0], sides[1])


def _zeiss_pixels(text: str, width: int) -> Iterator[Pixel]:
    if width <= 0:
        return
    own = _zeiss_value("AP_IMAGE_PIXEL_SIZE", text)
    own = own or _match(r"^[ \t]*Image Pixel Size[ \t]*[=:]([^\n]*)", text)
    stored = number(_zeiss_value("DP_IMAGE_STORE", text))
    yield Pixel(length_um(own, "m")).times(_shrunk(stored, width))
    standard = _ZEISS_WIDTH / width
    yield Pixel(length_um(_zeiss_value("AP_PIXEL_SIZE", text), "m")).times(standard)
    unnamed = text.split("\n", 4)[:4]
    if len(unnamed) == 4 and all(re.fullmatch(r"[ \t]*[-+.\deE]+[ \t]*", line) for line in unnamed):
        yield Pixel(number(unnamed[3])).times(1e6 * standard)
    yield Pixel(length_um(_zeiss_value("AP_WIDTH", text), "m")).times(1 / width)


def _zeiss_value(key: str, text: str) -> str | None:
    """Text after the key, a line break or tab, and `Label =`; or after `KEY =`."""
    return _match(rf"^[ \t]*{key}\b[^\n=]*(?:\n[^\n=]*)?=([^\n]*)", text)


def _tescan_pixel(text: str) -> Pixel:
    return _sides(_value(f"PixelSize{axis}", text) for axis in "XY")


def _jeol_pixels(text: str, width: int, height: int | None) -> Iterator[Pixel]:
    if width <= 0:
        return
    scan = columns, _ = _jeol_scan(text)
    field = _jeol_field(text, scan, width, height)
    if not columns:
        # The bar is in pixels of the stored width, which is unknown; a field of view is not.
        yield field
    marker_um = length_um(_jeol_value("MICRON_MARKER", text), "um")
    bar = number(_jeol_value("MICRON_BAR", text))
    size_um = length_um(_jeol_value("PIXEL_SIZE", text), "nm")
    shrunk = _shrunk(columns, width)
    yield _of_shape(marker_um / bar if bar and marker_um else None, field).times(shrunk)
    yield field
    yield _of_shape(size_um, field).times(shrunk)
    magnification = _magnification(_jeol_value("MAG", text))
    photo = lengths_um(_jeol_value("STANDARD_FIELD_SIZE", text) or _JEOL_PHOTO, "mm")
    if magnification and photo:
        yield Pixel(photo[0][0] / magnification / width)


def _jeol_field(
    text: str, scan: tuple[float | None, float | None], width: int, height: int | None
) -> Pixel:
    lengths = lengths_um(_jeol_value("FIELD_OF_VIEW", text), "um")
    if not lengths:
        return Pixel(None)
    (across, error), *rest = lengths
    pixel = Pixel(across / width)
    for down, error_down in rest[:1]:
        columns, rows = scan
        if not (columns and rows):
            columns, rows = width, height
            if not rows:
                return pixel
            # The share of the rows that square pixels would fill. A few rows more are a data bar;
            # far more or far fewer mean a cropped strip, from which no height can be derived.
            share = down / across * width / rows
            if not 1 / _MAX_ASPECT <= share <= _MAX_ASPECT or 1 - _MAX_BAR <= share <= 1:
                return pixel
        return Pixel(across / width, down * columns / rows / width, error + error_down)
    return pixel


def _of_shape(width_um: float | None, other: Pixel) -> Pixel:
    """A pixel of this width, with the proportions of another one."""
    if not (width_um and other.width_um and other.height_um):
        return Pixel(width_um)
    return Pixel(width_um, width_um * other.height_um / other.width_um, other.error)


def _jeol_scan(text: str) -> tuple[float | None, float | None]:
    """Columns and rows of the scan, without its data bar."""
    for name in ("FULL_SIZE", "IMAGE_SIZE"):
        match = re.match(r"\s*(\d{1,6})\D{1,8}(\d{1,6})", _jeol_value(name, text) or "")
        if match and int(match[1]) and int(match[2]):
            return float(match[1]), float(match[2])
    return None, None


def _jeol_value(name: str, text: str) -> str | None:
    return _match(rf"^\$+[CS]M_{name}[ \t]+([^\n]*)", text)


def _hitachi_pixels(text: str, width: int) -> Iterator[Pixel]:
    columns = number(_value("DataSize", text))
    yield Pixel(length_um(_value("PixelSize", text), "nm")).times(_shrunk(columns, width))
    magnification = _magnification(_value("Magnification", text))
    if "[SemImageFile]" in text and magnification and width > 0:
        yield Pixel(_HITACHI_PHOTO_UM / magnification / width)


def _magnification(text: str | None) -> float | None:
    """A magnification such as `5000`, `x5,000` or `5.00k`."""
    match = re.match(r"\s*[xX×]?\s*(\d[\d.,]{0,20})\s*([kK]?)", text or "")
    if not match:
        return None
    value = number(re.sub(r",(?=\d{3}(?:\D|$))", "", match[1]))
    return None if value is None else value * (1000.0 if match[2] else 1.0)


def _sides(texts: Iterable[str | None]) -> Pixel:
    """A pixel from the texts of its width and height, in metres if they have no unit."""
    width, height = (length_um(text, "m") for text in texts)
    return Pixel(width, height)


def _shrunk(columns: float | None, width: int) -> float:
    """Factor by which pixels became larger when a picture was resized to `width` from `columns`."""
    return columns / width if columns and width > 0 else 1.0


def _section(name: str, text: str) -> str:
    """Lines of an INI section, including its heading."""
    start = f"\n{text}".find(f"\n[{name}]")
    if start < 0:
        return ""
    end = text.find("\n[", start)
    return text[start : None if end < 0 else end]


def _value(key: str, text: str) -> str | None:
    return _match(rf"^[ \t]*{key}[ \t]*=([^\n]*)", text)


def _match(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else None
