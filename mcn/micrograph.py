"""An electron micrograph: grey pixels, pixel size, data bar."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcn.errors import McnError


class MicrographError(McnError):
    """A file that is not a readable micrograph; the message names file and reason."""


@dataclass(frozen=True)
class Limits:
    """What a micrograph may be at most, checked before its pixels are decoded."""

    max_bytes: int = 512 * 2**20
    max_pixels: int = 250_000_000


@dataclass(frozen=True, eq=False)
class Micrograph:
    """A micrograph as read.

    Parameters
    ----------
    pixels : (H, W) uint8 array
        Grey values of the whole picture, data bar included.
    pixel_size_um : float or None
        Width of a pixel in micrometres, None where unknown.
    pixel_size_source : str
        "manifest", "vendor", "ome", "resolution" or "unknown".
    name : str
        Path or URI, for messages.
    data_bar_y : int or None
        First row of the data bar at the bottom; None where there is no bar.
    """

    pixels: NDArray[np.uint8]
    pixel_size_um: float | None
    pixel_size_source: str
    name: str
    data_bar_y: int | None = None

    @property
    def analysed(self) -> NDArray[np.uint8]:
        """Pixels above the data bar, (H', W)."""
        return self.pixels[: self.data_bar_y]


def decode_micrograph(
    data: bytes,
    name: str,
    *,
    pixel_size_um: float | None = None,
    sidecar: str | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> Micrograph:
    """Decode the bytes of one image file."""
    from PIL import Image

    try:
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    except Exception as error:
        raise MicrographError(f"{name}: not a readable image: {error}") from error
    return Micrograph(
        pixels, pixel_size_um, "unknown" if pixel_size_um is None else "manifest", name
    )


def read_micrograph(
    path: str | os.PathLike[str],
    *,
    pixel_size_um: float | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> Micrograph:
    """Read one image file from a local path or an fsspec URI."""
    import fsspec

    name = os.fspath(path)
    try:
        with fsspec.open(name, "rb") as file:
            data = file.read(limits.max_bytes + 1)
    except OSError as error:
        raise MicrographError(f"{name}: cannot be read: {error}") from error
    return decode_micrograph(data, name, pixel_size_um=pixel_size_um, limits=limits)
