"""Resolutions in the headers of PNG and JPEG files."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from mcn.micrograph.exif import exif_tags
from mcn.micrograph.pages import png_chunks
from mcn.micrograph.pixel_size import FileNotes

_INCH_UM, _CM_UM, _M_UM = 25400.0, 1e4, 1e6
RESOLUTION_UNITS: Final[Mapping[Any, float]] = {2: _INCH_UM, 3: _CM_UM}
"""Micrometres per unit of the tag ResolutionUnit of TIFF and EXIF."""


def png_resolution(data: bytes, exif: bytes) -> FileNotes:
    """The resolution in a PNG file's chunk pHYs, else in its EXIF block."""
    for kind, chunk in png_chunks(data):
        if kind == b"pHYs" and len(chunk) == 9:
            x, y, unit = struct.unpack(">IIB", chunk)
            unit_um = _M_UM if unit == 1 else None
            return FileNotes(pixels_per_unit=float(x), pixels_per_unit_y=float(y), unit_um=unit_um)
        if kind == b"IDAT":
            break
    return _exif_resolution(exif)


def jpeg_resolution(info: Mapping[Any, Any]) -> FileNotes:
    """The higher of the resolutions in the JFIF and EXIF headers; `info` as Pillow gives it.

    Programs that set one of the two write a default into the other: none, or that of a screen.
    """
    x, y = info.get("jfif_density") or (0, 0)
    unit_um = {1: _INCH_UM, 2: _CM_UM}.get(info.get("jfif_unit", 0))
    jfif = FileNotes(pixels_per_unit=float(x), pixels_per_unit_y=float(y), unit_um=unit_um)
    exif = _exif_resolution(info.get("exif", b""))
    return jfif if x != y else max(jfif, exif, key=_pixels_per_um)


def _pixels_per_um(notes: FileNotes) -> float:
    if notes.pixels_per_unit != notes.pixels_per_unit_y:
        return np.inf
    return (notes.pixels_per_unit or 0.0) / (notes.unit_um or np.inf)


def _exif_resolution(exif: bytes) -> FileNotes:
    tags = exif_tags(exif)
    x, y = (_positive_number(tags.get(code)) for code in (282, 283))
    return FileNotes(
        pixels_per_unit=x, pixels_per_unit_y=y, unit_um=RESOLUTION_UNITS.get(tags.get(296, 2))
    )


def _positive_number(value: object) -> float | None:
    """A rational of EXIF as a number; damaged ones can be anything."""
    try:
        count = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ArithmeticError):
        return None
    return count if 0 < count < np.inf else None
