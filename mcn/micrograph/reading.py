"""An electron micrograph: grey pixels, pixel size, data bar."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcn.errors import McnError
from mcn.io.objects import filesystem_of
from mcn.micrograph.data_bar import find_data_bar
from mcn.micrograph.orientation import turn
from mcn.micrograph.picture import (
    DEFAULT_LIMITS,
    Limits,
    Picture,
    PictureError,
    PictureSizeError,
    check_bytes,
    decode_picture,
)
from mcn.micrograph.pixel_size import (
    FileNotes,
    PixelSizeError,
    check_pixel_size,
    find_pixel_size,
    find_scan_height,
    ignored_size,
    knows_vendor_size,
)
from mcn.sources.sidecar import sidecar_texts

__all__ = [
    "Limits",
    "Micrograph",
    "MicrographError",
    "MicrographScaleError",
    "MicrographSizeError",
    "decode_micrograph",
    "read_micrograph",
]

_DARK_LIGHT_PERCENT: Final = (0.1, 99.9)


class MicrographError(McnError):
    """A file that cannot be read as a micrograph; the message names the file and the reason."""


class MicrographScaleError(MicrographError):
    """A pixel size that is impossible, or of pixels that are not square."""


class MicrographSizeError(MicrographError):
    """A file that is larger than the limits; the message names the file and the limit."""


@dataclass(frozen=True, eq=False)
class Micrograph:
    """A micrograph as read.

    Parameters
    ----------
    pixels : (H, W) uint8 array
        Grey values of the whole picture, data bar included.
    pixel_size_um : float or None
        Width of a pixel in micrometres; None if unknown.
    pixel_size_source : str
        "manifest", "vendor", "ome", "resolution" or "unknown".
    name : str
        Path or URI, for messages.
    data_bar_y : int or None
        First row of the data bar at the bottom; None if there is no bar.
    pages : int
        Number of pictures in the file; this is the first.
    ignored_size_um : float or None
        The pixel size that the file states, if it is impossible and there is no other.
    """

    pixels: NDArray[np.uint8]
    pixel_size_um: float | None
    pixel_size_source: str
    name: str
    data_bar_y: int | None = None
    pages: int = 1
    ignored_size_um: float | None = None

    @property
    def analysed(self) -> NDArray[np.uint8]:
        """Pixels above the data bar, (H', W)."""
        return self.pixels[: self.data_bar_y]

    @property
    def note(self) -> str | None:
        """A note about the file for users of the crystals, or None."""
        notes = [_page_note(self.pages)]
        if self.ignored_size_um is not None:
            notes.append(
                f"the file's pixel size of {self.ignored_size_um:g} µm is impossible and ignored; "
                "give its pixel size"
            )
        return "; ".join(filter(None, notes)) or None


def _page_note(pages: int) -> str | None:
    """A note that a file holds more than one picture; None if it does not."""
    if pages == 1:
        return None
    return f"only page 1 of {pages} is read; save the others as separate files"


def decode_micrograph(
    data: bytes,
    name: str,
    *,
    pixel_size_um: float | None = None,
    sidecar: str | Iterable[str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Micrograph:
    """Decode the bytes of one TIFF, PNG or JPEG file.

    Grey values of 8 bits are unchanged. Others are stretched so that the darkest 0.1 % of the
    finite pixels become black and the lightest 0.1 % white, without the data bar. NaN becomes
    the darkest value. The picture is rotated by its TIFF or EXIF orientation; of several pages
    or frames the first is read.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Path or URI, for messages.
    pixel_size_um : float or None
        Pixel size from a manifest in micrometres; overrides the file's own.
    sidecar : str or iterable of str, optional
        Text of the file that JEOL, Hitachi and TESCAN microscopes write beside the picture. Of
        several texts the first with a pixel size is used; none is read if the picture's own
        vendor tags give the pixel size.
    limits : Limits
        Maximum size of the file; checked before pixels are decoded.

    Raises
    ------
    MicrographError
        The file is empty, cut short, damaged, too large, not a picture or of an unknown
        kind.
    MicrographScaleError
        `pixel_size_um` is impossible, or the pixels are not square according to the file.
    """
    sidecars = (sidecar,) if isinstance(sidecar, str) else sidecar or ()
    with _errors_about(name):
        if pixel_size_um is not None:
            check_pixel_size(pixel_size_um)
        return _interpret(decode_picture(data, limits), name, pixel_size_um, sidecars)


def read_micrograph(
    path: str | os.PathLike[str],
    *,
    pixel_size_um: float | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Micrograph:
    """Read a file from a local path or an fsspec URI, and the sidecar beside it.

    A sidecar (`mcn.sources.sidecar`) is searched for only if the file's own vendor tags do not
    give the pixel size.

    Parameters
    ----------
    path : str or path-like
        Local path or any URI that fsspec knows (`s3://…`, `memory://…`).
    pixel_size_um, limits
        As in `decode_micrograph`.

    Raises
    ------
    MicrographError
        The file cannot be read, or as in `decode_micrograph`.
    """
    name = os.fspath(path)
    return decode_micrograph(
        _read_bytes(name, limits),
        name,
        pixel_size_um=pixel_size_um,
        sidecar=sidecar_texts(name),
        limits=limits,
    )


def _read_bytes(name: str, limits: Limits) -> bytes:
    try:
        filesystem, path = filesystem_of(name)
        check_bytes(filesystem.size(path) or 0, limits)
        data: bytes = filesystem.cat_file(path)
    except FileNotFoundError as error:
        raise MicrographError(f"{name}: there is no such file; check the path") from error
    except IsADirectoryError as error:
        raise MicrographError(f"{name}: it is a folder; name a file in it") from error
    except PictureError as error:
        raise MicrographError(f"{name}: {error}") from error
    except Exception as error:
        raise MicrographError(
            f"{name}: it cannot be read ({_gist(error)}); check the path and its permissions"
        ) from error
    return data


@contextmanager
def _errors_about(name: str) -> Iterator[None]:
    """Turn all errors of a file into one error that names it."""
    try:
        yield
    except MicrographError:
        # It names another file, such as a sidecar.
        raise
    except PictureSizeError as error:
        raise MicrographSizeError(f"{name}: {error}") from error
    except PictureError as error:
        raise MicrographError(f"{name}: {error}") from error
    except PixelSizeError as error:
        raise MicrographScaleError(f"{name}: {error}") from error
    except MemoryError as error:
        raise MicrographError(
            f"{name}: there is not enough memory to decode it; cut it into tiles"
        ) from error
    except Exception as error:
        raise MicrographError(
            f"{name}: the file is damaged ({_gist(error)}); copy it again from its source"
        ) from error


def _gist(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _interpret(
    picture: Picture, name: str, pixel_size_um: float | None, sidecars: Iterable[str]
) -> Micrograph:
    height, width = picture.grey.shape
    notes = _notes_beside(picture.notes, sidecars, width, height)
    # Vendors count columns and rows as stored.
    size, source = find_pixel_size(notes, width, pixel_size_um, height)
    pixels, bar_y = _shown(picture, notes)
    ignored = ignored_size(notes, width, height) if size is None else None
    return Micrograph(pixels, size, source, name, bar_y, picture.pages, ignored)


def _shown(picture: Picture, notes: FileNotes) -> tuple[NDArray[np.uint8], int | None]:
    """Grey values in display orientation, and the first row of the data bar at the bottom.

    If a rotated picture has its bar on another side, the bar is filled with the median of the
    specimen, so that nothing is detected in it.
    """
    stored = picture.grey
    grey = turn(stored, picture.orientation)
    pixels = _to_8_bits(grey, len(grey))
    drawn_bar_y = find_data_bar(pixels)
    is_upright = picture.orientation <= 2
    bar_y = drawn_bar_y
    if is_upright:
        height, width = grey.shape
        bar_y = find_scan_height(notes, height, width, drawn_bar_y) or drawn_bar_y
    if bar_y is not None:
        return (pixels if grey.dtype == np.uint8 else _to_8_bits(grey, bar_y)), bar_y
    if is_upright:
        return pixels, None
    as_stored = _to_8_bits(stored, len(stored))
    height, width = stored.shape
    side_y = find_scan_height(notes, height, width) or find_data_bar(as_stored)
    if side_y is None:
        return pixels, None
    as_stored = _to_8_bits(stored, side_y).copy()
    as_stored[side_y:] = np.median(as_stored[:side_y])
    return np.ascontiguousarray(turn(as_stored, picture.orientation)), None


def _notes_beside(notes: FileNotes, sidecars: Iterable[str], width: int, height: int) -> FileNotes:
    """A picture's notes with those of the first sidecar with a pixel size, if needed."""
    if knows_vendor_size(notes, width, height):
        return notes
    first = None
    for text in sidecars:
        beside = notes.beside(text)
        if knows_vendor_size(beside, width, height):
            return beside
        first = first or beside
    return first or notes


def _to_8_bits(grey: NDArray[Any], rows: int) -> NDArray[np.uint8]:
    """Grey values as 8 bits, wider ones stretched between percentiles of the first rows."""
    if grey.dtype == np.uint8:
        return np.ascontiguousarray(grey)
    if grey.dtype == np.bool_:
        return grey.astype(np.uint8) * np.uint8(255)
    if grey.dtype == np.uint16:
        counts = np.cumsum(np.bincount(grey[:rows].ravel(), minlength=2**16))
        percentiles = np.array(_DARK_LIGHT_PERCENT) / 100 * counts[-1]
        dark, light = np.searchsorted(counts, percentiles)
        if dark == light:
            dark, light = np.searchsorted(counts, [1, counts[-1]])
        table = _stretch(np.arange(2**16), float(dark), float(light))
        return np.take(table, grey)
    values = grey.astype(np.float64)
    finite = values[:rows][np.isfinite(values[:rows])]
    if finite.size == 0:
        raise PictureError("none of its values is a finite number; save the micrograph again")
    dark, light = np.percentile(finite, _DARK_LIGHT_PERCENT)
    if dark == light:
        dark, light = finite.min(), finite.max()
    return _stretch(np.where(np.isnan(values), dark, values), float(dark), float(light))


def _stretch(values: NDArray[Any], dark: float, light: float) -> NDArray[np.uint8]:
    span = light - dark
    if not 0 < span < np.inf:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled: NDArray[Any] = np.rint((np.clip(values, dark, light) - dark) / span * 255)
    return scaled.astype(np.uint8)
