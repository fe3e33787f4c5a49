"""Pictures of tiles: read from storage once, kept as pyramids within a bound, cut into regions."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcn.micrograph import Limits, decode_micrograph
from mcn.micrograph.pyramid import Pyramid, Region
from serve.deployments.messages import JPEG, PNG, WEBP

_QUALITY: Final = 88
_FORMATS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    JPEG: ("JPEG", {"quality": _QUALITY}),
    # 0 is the fastest of its methods: pictures are encoded while a person waits.
    WEBP: ("WEBP", {"quality": _QUALITY, "method": 0}),
    PNG: ("PNG", {"compress_level": 1}),
}


class TilePictures:
    """Pyramids of the tiles asked for last.

    Parameters
    ----------
    read : callable
        Gives the bytes of a URI.
    limits : Limits
        Largest size of a tile's picture.
    most_bytes : int
        Memory for pyramids; the one in use may be larger.
    """

    def __init__(
        self, read: Callable[[str], bytes], limits: Limits, most_bytes: int = 512 * 2**20
    ) -> None:
        self._read, self._limits, self._most_bytes = read, limits, most_bytes
        self._pyramids: OrderedDict[tuple[str, str | None], Pyramid] = OrderedDict()
        self._reading: dict[tuple[str, str | None], threading.Lock] = {}
        self._lock = threading.Lock()

    def pyramid(self, row: Mapping[str, Any]) -> Pyramid:
        """The pyramid of a tile; requests for the same tile at once read it once.

        Parameters
        ----------
        row : mapping
            Of the table `tiles`: `uri`, `etag`, `pixel_size_um`.
        """
        key = (row["uri"], row["etag"])
        with self._lock:
            if key in self._pyramids:
                self._pyramids.move_to_end(key)
                return self._pyramids[key]
            reading = self._reading.setdefault(key, threading.Lock())
        with reading:
            with self._lock:
                if key in self._pyramids:
                    return self._pyramids[key]
            try:
                pyramid = Pyramid(self._pixels(row))
                self._keep(key, pyramid)
            finally:
                with self._lock:
                    self._reading.pop(key, None)
        return pyramid

    def _pixels(self, row: Mapping[str, Any]) -> NDArray[np.uint8]:
        uri, size = row["uri"], row["pixel_size_um"]
        content = self._read(uri)
        return decode_micrograph(content, uri, pixel_size_um=size, limits=self._limits).pixels

    def _keep(self, key: tuple[str, str | None], pyramid: Pyramid) -> None:
        with self._lock:
            self._pyramids[key] = pyramid
            while len(self._pyramids) > 1 and self._size() > self._most_bytes:
                self._pyramids.popitem(last=False)

    def _size(self) -> int:
        return sum(pyramid.nbytes for pyramid in self._pyramids.values())


def encode_region(pyramid: Pyramid, region: Region, media_type: str) -> bytes:
    """A region of a picture as `JPEG`, `WEBP` or `PNG`."""
    from PIL import Image

    name, options = _FORMATS[media_type]
    file = io.BytesIO()
    Image.fromarray(pyramid.cut(region)).save(file, name, **options)
    return file.getvalue()
