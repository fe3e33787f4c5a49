"""The pixel size in micrometres, from vendor metadata or the file.

Vendor metadata (`mcn.micrograph.vendors`) comes first, then OME-XML, then ImageJ's or any other
resolution. Pixels must be square: other files are refused, as shapes and sizes of crystals would
be wrong.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from mcn.micrograph.units import length_um, number, unit_um
from mcn.micrograph.vendors import (
    VENDOR_TAGS,
    Pixel,
    vendor_bar_heights,
    vendor_pixels,
    vendor_scan_heights,
)
from mcn.pixel_limits import MAX_UM, MIN_UM

__all__ = [
    "VENDOR_TAGS",
    "FileNotes",
    "PixelSizeError",
    "check_pixel_size",
    "find_pixel_size",
    "find_scan_height",
    "ignored_size",
    "is_possible",
    "knows_vendor_size",
]

# Resolution tags often come from a printer driver or a screen, so only sizes that are plausible
# for a microscope are used.
_PLAUSIBLE_UM: Final = (0.0005, 50.0)
_PRINT_DPI: Final = (600, 720, 800, 1200, 1440, 2400, 2880, 3600, 4800)
_SQUARE: Final = 0.01
"""Relative difference allowed between the sides of a square pixel, as vendors round."""
_MAX_ASPECT: Final = 10.0
"""Maximum plausible ratio of the sides of a pixel; tags with a larger ratio are ignored."""


class PixelSizeError(Exception):
    """A pixel size that cannot be used.

    The message says why and how to fix it, but does not give the file's name.
    """


@dataclass(frozen=True)
class FileNotes:
    """Metadata of a picture file.

    Parameters
    ----------
    vendor : dict of int to str
        Texts of the private TIFF tags in `VENDOR_TAGS`.
    description : str
        TIFF ImageDescription: OME-XML or ImageJ's notes.
    pixels_per_unit : float or None
        Horizontal resolution.
    unit_um : float or None
        Unit of the resolution in micrometres; None if the file gives none.
    sidecar : str
        Text of the sidecar.
    pixels_per_unit_y : float or None
        Vertical resolution; None if the file gives none.
    """

    vendor: Mapping[int, str] = field(default_factory=dict)
    description: str = ""
    pixels_per_unit: float | None = None
    unit_um: float | None = None
    sidecar: str = ""
    pixels_per_unit_y: float | None = None

    def beside(self, sidecar: str | None) -> FileNotes:
        """The same notes with the text of a sidecar."""
        return replace(self, sidecar=sidecar) if sidecar else self


def is_possible(size_um: float) -> bool:
    """Whether a pixel size in micrometres is in the accepted range."""
    return MIN_UM <= size_um <= MAX_UM


def check_pixel_size(size_um: object) -> None:
    """Refuse an impossible pixel size.

    Raises
    ------
    PixelSizeError
        If it is not a number from `MIN_UM` to `MAX_UM`.
    """
    is_number = isinstance(size_um, numbers.Real) and not isinstance(size_um, bool)
    if not is_number or not is_possible(float(size_um)):  # type: ignore[arg-type]
        raise PixelSizeError(
            f"a pixel size of {size_um!r} µm is impossible; "
            f"give {MIN_UM:g} to {MAX_UM:g}, or nothing"
        )


def find_pixel_size(
    notes: FileNotes, width: int, manifest: float | None = None, height: int | None = None
) -> tuple[float | None, str]:
    """Pixel size in micrometres and its source.

    Parameters
    ----------
    notes : FileNotes
        Metadata of the file.
    width : int
        Width of the picture in pixels.
    manifest : float or None
        Pixel size from a manifest; used first if it is possible.
    height : int, optional
        Height of the picture in pixels.

    Returns
    -------
    pixel_size_um : float or None
    source : str
        "manifest", "vendor", "ome", "resolution", or "unknown" with None. Impossible
        values are skipped in favour of the next source.

    Raises
    ------
    PixelSizeError
        If the pixels are not square according to the first source.
    """
    if manifest is not None and is_possible(manifest):
        return float(manifest), "manifest"
    pixel = _vendor_pixel(notes, width, height)
    if pixel is not None:
        return _side(pixel, "the microscope"), "vendor"
    pixel = _ome_pixel(notes.description)
    if pixel is not None:
        return _side(pixel, "OME"), "ome"
    pixel = _resolution_pixel(notes)
    if pixel is not None:
        return _side(pixel, "its resolution"), "resolution"
    return None, "unknown"


def ignored_size(notes: FileNotes, width: int, height: int | None = None) -> float | None:
    """The first pixel size that a microscope or OME states and that is impossible, micrometres.

    None if there is none; parameters as in `find_pixel_size`.
    """
    pixels = vendor_pixels(notes.vendor, notes.sidecar, width, height)
    stated = [pixel.width_um for pixel in pixels]
    if (ome := _ome_lengths(notes.description)) is not None:
        (text, _), (unit, _) = ome
        stated.append(length_um(text, unit))
    return next((size for size in stated if size is not None and not is_possible(size)), None)


def knows_vendor_size(notes: FileNotes, width: int, height: int) -> bool:
    """Whether vendor metadata gives the pixel size."""
    return _vendor_pixel(notes, width, height) is not None


def find_scan_height(
    notes: FileNotes, height: int, width: int, bar_y: int | None = None
) -> int | None:
    """Rows of the scan if the metadata say that the picture has more, else None.

    The rows below are the data bar. A bar of half the picture or more is ignored.

    Parameters
    ----------
    notes : FileNotes
    height, width : int
        Size of the picture as stored. The rows are scaled to a resized picture if the metadata
        show that it was not cropped.
    bar_y : int or None
        First row of the data bar as detected in the pixels. It overrides the height of a bar
        that is stated without a width: if they differ, the picture was resized.
    """
    for rows in vendor_scan_heights(notes.vendor, notes.sidecar, height, width):
        if rows is not None and height / 2 < rows < height:
            return int(rows)
    for bar in vendor_bar_heights(notes.vendor, notes.sidecar):
        rows = None if bar is None else height - bar
        if rows is not None and height / 2 < rows < height:
            differs = bar_y is not None and abs(bar_y - rows) > max(4, 0.01 * height)
            return bar_y if differs else int(rows)
    return None


def _side(pixel: Pixel, source: str) -> float:
    """The side of a square pixel, without the rounding error of a change of units."""
    width = pixel.width_um or 0.0
    if not _is_square(width, pixel.height_um, pixel.error):
        raise _not_square(f"{width:.6g} × {pixel.height_um:.6g} µm", source)
    return float(f"{width:.12g}")


def _is_square(width: float, height: float | None, error: float = 0.0) -> bool:
    if height is None or not (math.isfinite(height) and height > 0):
        return True
    return abs(height / width - 1) <= _SQUARE + error


def _not_square(size: str, source: str) -> PixelSizeError:
    return PixelSizeError(
        f"its pixels are not square ({size} according to {source}); resample it to square pixels, "
        "or give its pixel size if they are square"
    )


def _vendor_pixel(notes: FileNotes, width: int, height: int | None) -> Pixel | None:
    for pixel in vendor_pixels(notes.vendor, notes.sidecar, width, height):
        if pixel.width_um is not None and is_possible(pixel.width_um):
            return pixel
    return None


def _ome_pixel(description: str) -> Pixel | None:
    """The pixel in OME-XML; sizes in other units, such as pixels, are only checked for shape."""
    lengths = _ome_lengths(description)
    if lengths is None:
        return None
    texts, units = lengths
    width, height = (length_um(text, unit) for text, unit in zip(texts, units, strict=True))
    if width is not None and is_possible(width):
        return Pixel(width, height)
    if units[0] == units[1] and unit_um(units[0]) is None:
        # Lengths in other units, such as "pixel", give a shape but no size.
        _check_shape(number(texts[0]), number(texts[1]), "OME")
    return None


def _ome_lengths(description: str) -> tuple[list[str | None], list[str]] | None:
    """Width and height of a pixel in OME-XML as written, and their units; None without OME."""
    match = re.search(r"<(?:\w{1,32}:)?Pixels\b([^<>]*)>", description)
    if not match:
        return None
    unit = _attribute("PhysicalSizeXUnit", match[1])
    units = [unit or "um", _attribute("PhysicalSizeYUnit", match[1]) or unit or "um"]
    return [_attribute(f"PhysicalSize{axis}", match[1]) for axis in "XY"], units


def _attribute(name: str, tag: str) -> str | None:
    match = re.search(rf"\b{name}\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", tag)
    return None if match is None else match[1] or match[2]


def _resolution_pixel(notes: FileNotes) -> Pixel | None:
    units = [notes.unit_um, notes.unit_um]
    if notes.description.startswith("ImageJ="):
        # ImageJ stores the unit of its resolution in the description.
        unit, unit_y = (
            re.search(rf"^[ \t]*{key}[ \t]*=([^\n]*)", notes.description, re.MULTILINE)
            for key in ("unit", "yunit")
        )
        if unit:
            units = [unit_um(unit[1]), unit_um((unit_y or unit)[1])]
    per_unit = [notes.pixels_per_unit, notes.pixels_per_unit_y]
    width, height = (
        unit / count if unit and count else None
        for unit, count in zip(units, per_unit, strict=True)
    )
    if width and _is_of_a_microscope(width):
        return Pixel(width, height)
    # Resolutions without a unit of length give a shape but no size.
    _check_shape(per_unit[1], per_unit[0], "its resolution")
    return None


def _is_of_a_microscope(size_um: float) -> bool:
    is_of_print = any(abs(25400 / size_um / dpi - 1) < 1e-3 for dpi in _PRINT_DPI)
    return _PLAUSIBLE_UM[0] <= size_um <= _PLAUSIBLE_UM[1] and not is_of_print


def _check_shape(width: float | None, height: float | None, source: str) -> None:
    """Refuse pixels that are not square, whatever their size."""
    ratio = height / width if width and height else 1.0
    if 1 / _MAX_ASPECT <= ratio <= _MAX_ASPECT and not _is_square(1.0, ratio):
        raise _not_square(f"1 × {ratio:.4g}", source)
