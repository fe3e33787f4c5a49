"""The IIIF Image API 3: what a request's address asks of a picture [1]_.

Level 1, with regions and sizes in per cent, sizes that fit a box, PNG and WebP beside JPEG, and
without enlarging or turning.

References
----------
.. [1] iiif.io/api/image/3.0
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mcn.errors import McnError

TILE: Final = 512
"""Side of the parts that viewers are advised to ask for, pixels."""

FORMATS: Final = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
"""Endings of addresses and their media types."""

_NUMBER: Final = r"[0-9]+(?:\.[0-9]+)?"
_FEATURES: Final = ("regionByPct", "sizeByPct", "sizeByConfinedWh", "cors", "jsonldMediaType")


class ViewError(McnError):
    """An address that asks for something impossible or unsupported."""


@dataclass(frozen=True)
class PictureView:
    """A part of a picture at a size.

    Parameters
    ----------
    x, y, w, h : int
        The part in pixels of the picture.
    width, height : int
        Size of the result.
    format : {"jpg", "png", "webp"}
    """

    x: int
    y: int
    w: int
    h: int
    width: int
    height: int
    format: str


def read_view(
    address: tuple[str, str, str, str, str], picture_width: int, picture_height: int
) -> PictureView:
    """The view that region, size, rotation, quality and format ask of a picture.

    Raises
    ------
    ViewError
        If one of them is not valid, not supported, or outside the picture.
    """
    region, size, rotation, quality, form = address
    if rotation not in ("0", "360"):
        raise ViewError(f"rotation: {rotation[:20]!r} is not supported; give 0")
    if quality not in ("default", "gray"):
        raise ViewError(f"quality: {quality[:20]!r} is not supported; give default or gray")
    if form not in FORMATS:
        raise ViewError(f"format: {form[:20]!r} is not supported; give {', '.join(FORMATS)}")
    x, y, w, h = _region(region, picture_width, picture_height)
    return PictureView(x, y, w, h, *_size(size, w, h), form)


def picture_info(address: str, width: int, height: int) -> dict[str, Any]:
    """The document `info.json` of a picture at an address."""
    factors = [1]
    while TILE * factors[-1] < max(width, height):
        factors.append(2 * factors[-1])
    sizes = [{"width": -(-width // n), "height": -(-height // n)} for n in reversed(factors)]
    return {
        "@context": "http://iiif.io/api/image/3/context.json",
        "id": address,
        "type": "ImageService3",
        "protocol": "http://iiif.io/api/image",
        "profile": "level1",
        "width": width,
        "height": height,
        "sizes": sizes,
        "tiles": [{"width": TILE, "scaleFactors": factors}],
        "extraFormats": ["png", "webp"],
        "extraQualities": ["gray"],
        "extraFeatures": list(_FEATURES),
    }


def _region(text: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of a region, cut off at the edges of the picture."""
    if text == "full":
        return 0, 0, width, height
    if text == "square":
        side = min(width, height)
        return (width - side) // 2, (height - side) // 2, side, side
    numbers = _numbers(text.removeprefix("pct:"), 4)
    if numbers is None:
        raise ViewError(
            f"region: {text[:60]!r} is not a region; give full, square, x,y,w,h or pct:x,y,w,h"
        )
    if text.startswith("pct:"):
        scale = (width / 100, height / 100) * 2
        numbers = [number * part for number, part in zip(numbers, scale, strict=True)]
    left, top, w, h = (round(number) for number in numbers)
    w, h = min(w, width - left), min(h, height - top)
    if w <= 0 or h <= 0:
        raise ViewError(f"region: {text[:60]!r} has no pixel of the picture, {width}×{height}")
    return left, top, w, h


def _size(text: str, w: int, h: int) -> tuple[int, int]:
    """Width and height of the result of a region of w×h pixels."""
    if text == "max":
        return w, h
    if text.startswith("pct:") and (numbers := _numbers(text[4:], 1)):
        width, height = w * numbers[0] / 100, h * numbers[0] / 100
    elif match := re.fullmatch(r"(!?)([0-9]{0,9}),([0-9]{0,9})", text):
        confined, *sides = match.groups()
        wanted_w, wanted_h = (int(side) if side else None for side in sides)
        if (wanted_w is None and wanted_h is None) or (confined and None in (wanted_w, wanted_h)):
            raise ViewError(f"size: {text[:60]!r} gives no width or height")
        ratios = [n / side for n, side in ((wanted_w, w), (wanted_h, h)) if n is not None]
        if confined:
            ratio = min(1.0, *ratios)
            width, height = w * ratio, h * ratio
        else:
            width = w * ratios[0] if wanted_w is None else wanted_w
            height = h * ratios[0] if wanted_h is None else wanted_h
    else:
        raise ViewError(f"size: {text[:60]!r} is not a size; give max, w,  ,h  w,h  !w,h  or pct:n")
    if width > w or height > h:
        raise ViewError(f"size: {text[:60]!r} is larger than the region of {w}×{h}; ask for less")
    if min(width, height) <= 0:
        raise ViewError(f"size: {text[:60]!r} has no pixel")
    return max(1, round(width)), max(1, round(height))


def _numbers(text: str, count: int) -> Sequence[float] | None:
    parts = text.split(",")
    if len(parts) != count or not all(re.fullmatch(_NUMBER, part) for part in parts):
        return None
    return [float(part[:20]) for part in parts]
