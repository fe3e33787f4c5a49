"""Number of pictures in a file, from its headers alone.

Only the first is read, and results carry a note about the others. Copies of a picture do not
count as pages: thumbnails marked as such, levels of a pyramid, transparency masks.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

_MAX_PAGES: Final = 100_000
_MAX_TAGS: Final = 512
_REDUCED, _MASK = 1, 4
_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _PHOTOMETRIC = 254, 255, 256, 257, 262
_TRANSPARENCY: Final = 4
_ALIKE: Final = 0.02
"""Relative difference in shape allowed for a level of a pyramid, beside rounding of its sides."""


@dataclass(frozen=True)
class _Directory:
    width: int
    height: int
    is_copy: bool


def count_tiff_pages(data: bytes, description: str = "", picture_bytes: int = 0) -> int:
    """Pictures in a TIFF file.

    Parameters
    ----------
    data : bytes
        The whole file.
    description : str
        ImageDescription of the first picture: ImageJ stores a long stack in one directory and
        the number of its pictures here.
    picture_bytes : int
        Bytes of one uncompressed picture; 0 if it is compressed.

    Returns
    -------
    int
        At least 1.
    """
    pages: list[_Directory] = []
    smaller: list[_Directory] = []
    for directory in _directories(data):
        if directory.width > 0 and directory.height > 0 and not directory.is_copy:
            is_smaller = any(_is_reduced(directory, page) for page in pages[:1])
            (smaller if is_smaller else pages).append(directory)
    # Without tags, a pyramid is recognised by its levels. A single smaller page may be a separate
    # picture.
    widths = [directory.width for directory in smaller]
    is_pyramid = len(widths) > 1 and all(a > b for a, b in pairwise(widths))
    if not is_pyramid:
        pages += smaller
    stacked = re.search(r"^images=(\d{1,9})\s*$", description, re.MULTILINE)
    if len(pages) <= 1 and description.startswith("ImageJ=") and stacked and picture_bytes:
        return max(1, min(int(stacked[1]), len(data) // picture_bytes))
    return max(1, len(pages))


def count_png_frames(data: bytes) -> int:
    """Frames of an animated PNG, including a separate default picture; 1 for a plain PNG."""
    frames, is_frame = 1, False
    for kind, chunk in png_chunks(data):
        if kind == b"acTL" and len(chunk) == 8:
            frames = struct.unpack(">I", chunk[:4])[0]
        elif kind == b"fcTL":
            is_frame = True
        elif kind == b"IDAT":
            # A picture before the first frame is shown only by viewers without animation.
            return max(1, frames if is_frame or frames == 1 else frames + 1)
    return 1


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk of a PNG file, up to the end or damage."""
    position = 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        # The pixels are not needed here.
        yield kind, b"" if kind == b"IDAT" else data[position + 8 : position + 8 + length]
        position += 12 + length


def _is_reduced(directory: _Directory, page: _Directory) -> bool:
    """Whether a picture is a smaller version of another one, as a pyramid's levels are."""
    if directory.width > 0.75 * page.width or directory.height > 0.75 * page.height:
        return False
    scale = page.width / max(1, directory.width)
    return abs(directory.height * scale - page.height) <= _ALIKE * page.height + scale


def _directories(data: bytes) -> Iterator[_Directory]:
    """The image directories of a TIFF file, as far as the chain is intact."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = b"+" in data[:4]
    start_format, count_format, length = ("Q", "Q", "u8") if is_big else ("I", "H", "u4")
    entry = np.dtype(
        [
            (name, order + kind)
            for name, kind in (("code", "u2"), ("kind", "u2"), ("length", length))
        ]
        + [("value", "V8" if is_big else "V4")]
    )
    seen: set[int] = set()
    pointer_offset = 8 if is_big else 4
    try:
        while len(seen) < _MAX_PAGES:
            start = struct.unpack_from(order + start_format, data, pointer_offset)[0]
            if start == 0 or start in seen:
                return
            seen.add(start)
            n_tags = struct.unpack_from(order + count_format, data, start)[0]
            if n_tags > _MAX_TAGS:
                return
            first = start + struct.calcsize(count_format)
            tags = np.frombuffer(data, entry, count=n_tags, offset=first)
            yield _directory(tags, order)
            pointer_offset = first + n_tags * entry.itemsize
    except (struct.error, ValueError):
        # The file is cut short or damaged; the directories before that still count.
        return


def _directory(tags: np.ndarray[tuple[int], np.dtype[np.void]], order: str) -> _Directory:
    values = {
        int(tag["code"]): struct.unpack_from(
            order + ("H" if tag["kind"] == 3 else "I"), tag["value"].tobytes()
        )[0]
        for tag in tags[np.isin(tags["code"], (254, 255, 256, 257, 262))]
    }
    is_copy = bool(values.get(_SUBFILE, 0) & (_REDUCED | _MASK))
    is_copy |= values.get(_OLD_SUBFILE) == 2 or values.get(_PHOTOMETRIC) == _TRANSPARENCY
    return _Directory(values.get(_WIDTH, 0), values.get(_HEIGHT, 0), is_copy)
