"""The samples and metadata of a picture file (TIFF, PNG, JPEG).

The format is detected from the first bytes, not from the name. Size and number of samples
are checked from the header before anything is decoded, and nothing in a file is unpickled,
followed as a path, or trusted if the file cannot hold it.
"""

from __future__ import annotations

import io
import itertools
import logging
import struct
import warnings
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mcn.io.text import decode_text
from mcn.micrograph.orientation import TAG, UPRIGHT, exif_orientation, valid_orientation
from mcn.micrograph.pages import count_png_frames, count_tiff_pages, png_chunks
from mcn.micrograph.pixel_size import VENDOR_TAGS, FileNotes
from mcn.micrograph.resolution import RESOLUTION_UNITS, jpeg_resolution, png_resolution

if TYPE_CHECKING:
    from tifffile import TiffPage

_KINDS: Final = {
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
    b"GIF8": "a GIF picture",
    b"BM": "a BMP picture",
    b"\x89HDF": "an HDF5 file",
    b"RIFF": "a RIFF (WebP) file",
    b"<": "a text (HTML or XML) file",
    b"{": "a text (JSON) file",
}
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"

# None, LZW, JPEG, deflate (two numbers), PackBits, LZMA, zstd. The output of these decoders is
# limited; others would decode an embedded picture at whatever size it declares.
_TIFF_COMPRESSIONS: Final = (1, 5, 7, 8, 32773, 32946, 34925, 50000)
_TIFF_SIZES: Final = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8, 0])
"""Bytes of a value of each of the types of TIFF and BigTIFF."""
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_BYTES_A_PIXEL: Final = 4
_MAX_PAGES: Final = 64
_MAX_TAGS: Final = 512
_MAX_NOTE_BYTES: Final = 2**20


class PictureError(Exception):
    """A file that cannot be read as a picture.

    The message says why and how to fix it, but does not give the file's name.
    """


class PictureSizeError(PictureError):
    """A file that is larger than the limits."""


@dataclass(frozen=True)
class Limits:
    """Maximum size of a picture file, checked before its pixels are decoded.

    Parameters
    ----------
    max_bytes : int
        Size of the file.
    max_pixels : int
        Width times height as declared in the header; proportionally less if a pixel takes
        more than 4 bytes.
    """

    max_bytes: int = 512 * 2**20
    max_pixels: int = 250_000_000


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture as stored.

    Parameters
    ----------
    grey : (H, W) array of bool, integer or float
        Grey values; colours are converted to luminance (ITU-R BT.601), transparency is
        dropped, white-is-zero is inverted and palettes are looked up.
    notes : FileNotes
        Metadata of the file.
    orientation : int
        Orientation for display, 1 to 8 as in TIFF and EXIF.
    pages : int
        Number of pictures in the file; this is the first.
    """

    grey: NDArray[Any]
    notes: FileNotes
    orientation: int = UPRIGHT
    pages: int = 1


_is_quiet: ContextVar[bool] = ContextVar("_is_quiet", default=False)
# A damaged file raises one typed error; the libraries would also log each fault.
for _library in ("tifffile", "imagecodecs"):
    logging.getLogger(_library).addFilter(lambda record: not _is_quiet.get())


def decode_picture(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """Decode the first picture in the bytes of a file.

    In a TIFF with several pages, it is the first page that is not marked as a reduced copy (a
    thumbnail).

    Raises
    ------
    PictureError
        Not a picture, too large, cut short, or of an unsupported kind.
    Exception
        Whatever the decoding library raises on a damaged file.
    """
    if not data:
        raise PictureError("the file is empty; copy it again from its source")
    check_bytes(len(data), limits)
    token = _is_quiet.set(True)
    try:
        for magic, decode in (
            (_TIFF, _decode_tiff),
            (_PNG, _decode_png),
            (_JPEG, _decode_jpeg),
        ):
            if data.startswith(magic):
                return decode(data, limits)
    finally:
        _is_quiet.reset(token)
    head = data[:64].lstrip()
    kind = next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)
    raise PictureError(
        f"it is {kind or 'of an unknown type'}, not TIFF, PNG or JPEG; "
        "save the micrograph in one of these formats"
    )


def check_bytes(n_bytes: int, limits: Limits) -> None:
    """Refuse a file that is too large, which may be known before it is read.

    Raises
    ------
    PictureError
    """
    if n_bytes > limits.max_bytes:
        raise PictureSizeError(
            f"the file has {n_bytes} bytes, more than the limit of {limits.max_bytes}; "
            "cut it into tiles or raise the limit"
        )


def _check_size(width: int, height: int, bytes_a_pixel: int, limits: Limits) -> None:
    if width <= 0 or height <= 0:
        raise PictureError(f"it declares {width}×{height} pixels; there is nothing to analyse")
    if width * height * max(1, bytes_a_pixel / _BYTES_A_PIXEL) > limits.max_pixels:
        raise PictureSizeError(
            f"it declares {width}×{height} pixels of {bytes_a_pixel} bytes, more than the "
            f"limit of {limits.max_pixels}; cut it into tiles or raise the limit"
        )


def _decode_png(data: bytes, limits: Limits) -> Picture:
    import imagecodecs

    if len(data) < 33 or data[12:16] != b"IHDR":
        raise PictureError("the PNG file is cut short; copy it again from its source")
    width, height, bits, colours = struct.unpack_from(">IIBB", data, 16)
    n_samples = {0: 1, 4: 2, 6: 4}.get(colours, 3)
    _check_size(width, height, n_samples * max(bits // 8, 1), limits)
    samples = imagecodecs.png_decode(data)
    grey = samples if samples.ndim == 2 else _luminance(samples)
    exif = next((chunk for kind, chunk in png_chunks(data) if kind == b"eXIf"), b"")
    notes = png_resolution(data, exif)
    return Picture(grey, notes, exif_orientation(exif), count_png_frames(data))


def _decode_jpeg(data: bytes, limits: Limits) -> Picture:
    from PIL.JpegImagePlugin import JpegImageFile

    # imagecodecs would fill up a JPEG that is cut short with grey, and Image.open has a limit on
    # pixels that is a global setting.
    with warnings.catch_warnings(action="ignore"):
        image = JpegImageFile(io.BytesIO(data))
    _check_size(*image.size, len(image.getbands()), limits)
    grey = np.array(image.convert("L"))
    return Picture(grey, jpeg_resolution(image.info), exif_orientation(image.info.get("exif", b"")))


def _decode_tiff(data: bytes, limits: Limits) -> Picture:
    import tifffile

    _check_first_directory(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = _first_image(file)
        _check_page(page, len(data), limits)
        # One thread, because the scan already has one process per core.
        samples = page.asarray(squeeze=False, maxworkers=1)
        notes = _tiff_notes(page, data)
        pages = count_tiff_pages(data, notes.description, page.nbytes if page.is_contiguous else 0)
        orientation = valid_orientation(page.tags.valueof(TAG))
        return Picture(_tiff_grey(page, samples), notes, orientation, pages)


def _check_first_directory(data: bytes) -> None:
    """Refuse a list of tags that would fill the memory with the same bytes over and over."""
    order = "<" if data[:2] == b"II" else ">"
    start_format, count_format, length = ("Q", "Q", "u8") if b"+" in data[:4] else ("I", "H", "u4")
    try:
        start = struct.unpack_from(order + start_format, data, struct.calcsize(start_format))[0]
        n_tags = struct.unpack_from(order + count_format, data, start)[0]
        if n_tags > _MAX_TAGS:
            raise PictureError(f"the TIFF file is damaged ({n_tags} tags); copy it again")
        entry = [("code", "u2"), ("kind", "u2"), ("length", length), ("value", length)]
        tags = np.frombuffer(
            data,
            np.dtype([(name, order + kind) for name, kind in entry]),
            count=n_tags,
            offset=start + struct.calcsize(count_format),
        )
    except (struct.error, ValueError) as error:
        raise PictureError("the TIFF file is cut short; copy it again from its source") from error
    n_bytes = tags["length"].astype(np.float64) * _TIFF_SIZES[np.minimum(tags["kind"], 19)]
    # Tags longer than the file cannot be read in any case.
    if n_bytes[n_bytes <= len(data)].sum() > 4 * len(data):
        raise PictureError("the TIFF file is damaged: its tags overlap; copy it again")


def _first_image(file: Any) -> TiffPage:
    thumbnail = None
    for page in itertools.islice(file.pages, _MAX_PAGES):
        if page.imagewidth > 0 and page.imagelength > 0:
            image: TiffPage = page
            if not image.is_reduced:
                return image
            thumbnail = thumbnail or image
    if thumbnail is None:
        raise PictureError("the TIFF file contains no picture; save the micrograph again")
    return thumbnail


def _check_page(page: TiffPage, n_bytes: int, limits: Limits) -> None:
    if page.imagedepth != 1 or not 1 <= page.samplesperpixel <= 4:
        raise PictureError(
            f"it has {page.samplesperpixel} samples per pixel and depth {page.imagedepth}; "
            "save one grey or colour picture"
        )
    if page.photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR):
        raise PictureError(f"its colours are {_tag_name(page.photometric)}; save it as grey")
    if page.compression not in _TIFF_COMPRESSIONS:
        name = _tag_name(page.compression)
        raise PictureError(f"its compression is {name}; save it with LZW or none")
    if page.dtype is None or page.dtype.kind not in "buif":
        raise PictureError(
            f"its samples are {_tag_name(page.sampleformat)} of an unsupported size; "
            "save it as 8 bits"
        )
    bytes_a_pixel = page.samplesperpixel * page.dtype.itemsize
    _check_size(page.imagewidth, page.imagelength, bytes_a_pixel, limits)
    # A block may be larger than the picture, and is decoded whole.
    if np.prod(page.chunks, dtype=float) > 4 * max(limits.max_pixels, 1):
        raise PictureError("it declares blocks larger than the limit; it is damaged, copy it again")

    offsets = np.asarray(page.dataoffsets, dtype=np.int64)
    counts = np.asarray(page.databytecounts, dtype=np.int64)
    n_blocks = int(np.prod(page.chunked, dtype=float))
    if min(offsets.size, counts.size) < n_blocks or not counts[:n_blocks].all():
        raise PictureError("some of its strips or tiles are missing; copy it again from its source")
    ends = (
        offsets[:1] + page.nbytes if page.is_contiguous else offsets[:n_blocks] + counts[:n_blocks]
    )
    if ends.max() > n_bytes:
        raise PictureError("the TIFF file is cut short; copy it again from its source")


def _tag_name(value: object) -> str:
    """Name of a tag's value if tifffile knows it; a damaged tag can have any value."""
    name = getattr(value, "name", None)
    return str(name if isinstance(name, str) else value)[:40]


def _tiff_grey(page: TiffPage, samples: NDArray[Any]) -> NDArray[Any]:
    """Grey values from samples of shape (planes, 1, H, W, interleaved)."""
    planes = samples[:, 0]
    values = planes[0] if planes.shape[0] == 1 else np.moveaxis(planes[..., 0], 0, -1)
    if page.photometric == _RGB or (page.photometric == _YCBCR and page.compression == 7):
        return _luminance(values)
    # The samples after the first are transparency, or colour of the same luminance.
    grey: NDArray[Any] = values[..., 0]
    if page.photometric == _PALETTE:
        colours = np.asarray(page.colormap)
        # TIFF 6.0 prescribes maps of 16 bits, but some writers use 8, which libtiff also accepts.
        shift = 8 if colours.max() > 255 else 0
        shades = (_luminance(colours.T) >> shift).astype(np.uint8)
        return np.asarray(shades[grey])
    bits = page.bitspersample
    if grey.dtype == np.uint8 and isinstance(bits, int) and bits < 8:
        grey = (grey * np.uint8(255 // (2**bits - 1))).astype(np.uint8)
    if page.photometric == _MIN_IS_WHITE:
        return ~grey if grey.dtype.kind in "bui" else -grey
    return grey


def _tiff_notes(page: TiffPage, data: bytes) -> FileNotes:
    vendor = {}
    for code in VENDOR_TAGS:
        tag = page.tags.get(code)
        if tag is not None:
            n_bytes = min(tag.valuebytecount, _MAX_NOTE_BYTES)
            vendor[code] = decode_text(data[tag.valueoffset : tag.valueoffset + n_bytes])
    return FileNotes(
        vendor=vendor,
        description=str(page.description)[:_MAX_NOTE_BYTES],
        pixels_per_unit=_ratio(page.tags.valueof(282)),
        pixels_per_unit_y=_ratio(page.tags.valueof(283)),
        # By TIFF 6.0 the unit is the inch if the tag is missing, but few writers mean it.
        unit_um=RESOLUTION_UNITS.get(page.tags.valueof(296)),
    )


def _ratio(value: object) -> float | None:
    """A rational tag as a number; None if it is damaged."""
    if isinstance(value, tuple) and len(value) == 2 and value[1]:
        return float(value[0]) / float(value[1])
    return None


def _luminance(samples: NDArray[Any]) -> NDArray[Any]:
    """ITU-R BT.601 luminance of (…, S) samples in their own type; grey keeps its value."""
    if samples.shape[-1] < 3:
        return samples[..., 0]
    red, green, blue = (samples[..., channel] for channel in range(3))
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return red
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    luminance: NDArray[Any] = weights[0] * red + weights[1] * green + weights[2] * blue
    return np.rint(luminance).astype(samples.dtype) if samples.dtype.kind in "ui" else luminance
