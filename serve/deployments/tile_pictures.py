"""Pictures of tiles, read from storage once and kept at several sizes within a bound."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcn.catalog.storage import storage_trouble
from mcn.errors import McnError
from mcn.io.objects import fetch
from mcn.micrograph import Limits, Micrograph, decode_micrograph
from serve.deployments.iiif import PictureView

MOST_BYTES: Final = 384 * 2**20
"""Pictures kept by a replica: five of 50 megapixels with their smaller copies."""

_MOST_RENDERED_BYTES: Final = 32 * 2**20
_TRUSTED_S: Final = 60.0
"""After so long, the catalogue is asked again whether a tile has changed."""

_QUALITY: Final = 85
_LEAST_SIDE: Final = 128


class MissingPictureError(McnError):
    """The picture of a tile is no longer in the storage."""


@dataclass(frozen=True, eq=False)
class PicturePyramid:
    """A picture at full size, half size, and so on.

    Parameters
    ----------
    row : dict
        The tile's row in the catalogue.
    levels : tuple of (H, W) uint8 array
    pixel_size_um : float or None
    data_bar_y : int or None
        First row of the data bar; None without.
    """

    row: dict[str, Any]
    levels: tuple[NDArray[np.uint8], ...]
    pixel_size_um: float | None
    data_bar_y: int | None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The picture at full size."""
        return self.levels[0]

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        return sum(level.nbytes for level in self.levels)

    @property
    def version(self) -> str:
        """Changes when the picture does."""
        return f"{self.row['tile_id']}-{self.row['etag'] or self.row['scanned_at']}"


class TilePictures:
    """The pictures of the tiles that were asked for last.

    Parameters
    ----------
    find : callable
        Gives a tile's row from its id and well.
    limits : Limits
        Largest size of a picture.
    most_bytes : int
        Memory for pictures; at least the last one is kept.
    """

    def __init__(
        self,
        find: Callable[[str, str | None], dict[str, Any]],
        limits: Limits,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._find, self._limits, self._most_bytes = find, limits, most_bytes
        self._kept: OrderedDict[str, tuple[float, PicturePyramid]] = OrderedDict()
        self._rendered: OrderedDict[tuple[str, PictureView], bytes] = OrderedDict()
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, tile_id: str, well: str | None) -> PicturePyramid:
        """The picture of a tile.

        Raises
        ------
        MissingPictureError
            If the object is gone.
        StorageError
            If the storage fails.
        McnError
            If there is no such tile, or it cannot be read as a picture.
        """
        with self._lock:
            loading = self._loading.setdefault(tile_id, threading.Lock())
        # Viewers ask for many parts at once; one of these requests reads the picture.
        with loading:
            checked, pyramid = self._kept.get(tile_id, (0.0, None))
            if pyramid is None or monotonic() - checked > _TRUSTED_S:
                row = self._find(tile_id, well)
                if pyramid is None or _is_another(row, pyramid.row):
                    pyramid = self._load(row)
            self._keep(tile_id, pyramid)
        return pyramid

    def render(self, pyramid: PicturePyramid, view: PictureView) -> bytes:
        """A part of a picture, encoded."""
        key = (pyramid.version, view)
        with self._lock:
            if (known := self._rendered.get(key)) is not None:
                self._rendered.move_to_end(key)
                return known
        data = render(pyramid.levels, view)
        with self._lock:
            self._rendered[key] = data
            while sum(map(len, self._rendered.values())) > _MOST_RENDERED_BYTES:
                self._rendered.popitem(last=False)
        return data

    def _load(self, row: dict[str, Any]) -> PicturePyramid:
        micrograph = read_tile(row, self._limits)
        return PicturePyramid(
            row, smaller_copies(micrograph.pixels), micrograph.pixel_size_um, micrograph.data_bar_y
        )

    def _keep(self, tile_id: str, pyramid: PicturePyramid) -> None:
        with self._lock:
            self._kept[tile_id] = monotonic(), pyramid
            self._kept.move_to_end(tile_id)
            while (
                len(self._kept) > 1
                and sum(each.size_bytes for _, each in self._kept.values()) > self._most_bytes
            ):
                gone, _ = self._kept.popitem(last=False)
                self._loading.pop(gone, None)


def read_tile(row: dict[str, Any], limits: Limits) -> Micrograph:
    """The micrograph of a tile's row; raises the errors of `TilePictures.get`."""
    uri = row["uri"]
    try:
        data = fetch(uri, most=limits.max_bytes)
    except FileNotFoundError as error:
        raise MissingPictureError(f"{uri}: the tile's picture is no longer there") from error
    except McnError:
        raise
    # Each storage library has its own exceptions.
    except Exception as error:
        raise storage_trouble(uri, error) from error
    return decode_micrograph(data, uri, pixel_size_um=row["pixel_size_um"], limits=limits)


def smaller_copies(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """A picture and copies of half the size of the one before, each pixel a mean of four."""
    levels = [pixels]
    while max(levels[-1].shape) > 2 * _LEAST_SIDE and min(levels[-1].shape) > 1:
        levels.append(np.asarray(Image.fromarray(levels[-1]).reduce(2)))
    return tuple(levels)


def render(levels: tuple[NDArray[np.uint8], ...], view: PictureView) -> bytes:
    """A part of a picture from the smallest copy that has enough pixels, encoded."""
    shrunk = min(view.w / view.width, view.h / view.height)
    number = min(len(levels) - 1, max(0, int(np.log2(shrunk) + 1e-9)))
    scale = 2**number
    level = levels[number]
    # A little more than the part, so that its edges are as if the whole was resized.
    left, top = view.x // scale, view.y // scale
    right = min(level.shape[1], -(-(view.x + view.w) // scale))
    bottom = min(level.shape[0], -(-(view.y + view.h) // scale))
    part = Image.fromarray(np.ascontiguousarray(level[top:bottom, left:right]))
    if part.size != (view.width, view.height):
        box = (
            view.x / scale - left,
            view.y / scale - top,
            min((view.x + view.w) / scale - left, part.width),
            min((view.y + view.h) / scale - top, part.height),
        )
        part = part.resize((view.width, view.height), Image.Resampling.BILINEAR, box)
    file = io.BytesIO()
    match view.format:
        case "jpg":
            part.save(file, "JPEG", quality=_QUALITY)
        case "webp":
            part.save(file, "WEBP", quality=_QUALITY, method=2)
        case _:
            part.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _is_another(row: dict[str, Any], known: dict[str, Any]) -> bool:
    """Whether a tile's row is about another picture than one that is known."""
    if row["etag"] is None or known["etag"] is None:
        return bool(row["scanned_at"] != known["scanned_at"])
    return bool(row["etag"] != known["etag"])
