"""Requests of the IIIF Image API 3.0: regions and sizes of a picture.

References
----------
https://iiif.io/api/image/3.0/
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from mcn.micrograph.pyramid import Region
from serve.deployments.messages import JPEG, PNG, WEBP
from serve.http.errors import Problem

FORMATS: Final = {"jpg": JPEG, "webp": WEBP, "png": PNG}
TILE: Final = 512
_CONTEXT: Final = "http://iiif.io/api/image/3/context.json"
_NUMBER: Final = r"(\d{1,9}(?:\.\d{1,9})?)"
_PERCENT: Final = re.compile(rf"pct:{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}")
_PIXELS: Final = re.compile(r"(\d{1,9}),(\d{1,9}),(\d{1,9}),(\d{1,9})")
_SIZE: Final = re.compile(r"(!?)(\d{0,9}),(\d{0,9})")
_SHARE: Final = re.compile(rf"pct:{_NUMBER}")


def information(address: str, width: int, height: int) -> dict[str, Any]:
    """The document `info.json` of a picture at an address."""
    factors = [2**power for power in range(1 + _halvings(max(width, height)))]
    return {
        "@context": _CONTEXT,
        "id": address,
        "type": "ImageService3",
        "protocol": "http://iiif.io/api/image",
        "profile": "level1",
        "width": width,
        "height": height,
        "sizes": [
            {"width": math.ceil(width / factor), "height": math.ceil(height / factor)}
            for factor in reversed(factors)
        ],
        "tiles": [{"width": TILE, "height": TILE, "scaleFactors": factors}],
        "extraFormats": ["png", "webp"],
        "extraFeatures": ["regionByPct", "sizeByConfinedWh", "sizeByPct"],
        "extraQualities": ["gray"],
        "preferredFormats": ["jpg"],
    }


def parse_region(region: str, size: str, width: int, height: int) -> Region:
    """A region and a size of a picture; a region that reaches past an edge ends there.

    Raises
    ------
    Problem
        400 for text that is neither, a region outside the picture, and a size above its region's.
    """
    left, top, right, bottom = _box(region, width, height)
    right, bottom = min(right, width), min(bottom, height)
    if right <= left or bottom <= top:
        raise Problem(400, f"region: {region[:80]!r} is outside the {width} × {height} pixels")
    wide, high = right - left, bottom - top
    out_wide, out_high = _size(size, wide, high)
    if not (1 <= out_wide <= wide and 1 <= out_high <= high):
        raise Problem(
            400,
            f"size: {size[:80]!r} is not possible for a region of {wide} × {high} pixels; "
            "ask for that or less",
        )
    return Region(left, top, wide, high, out_wide, out_high)


def _box(region: str, width: int, height: int) -> tuple[int, int, int, int]:
    if region == "full":
        return 0, 0, width, height
    if region == "square":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side
    if match := _PIXELS.fullmatch(region):
        x, y, wide, high = map(int, match.groups())
        return x, y, x + wide, y + high
    if match := _PERCENT.fullmatch(region):
        x_pct, y_pct, wide_pct, high_pct = (float(each) / 100 for each in match.groups())
        left, top = round(x_pct * width), round(y_pct * height)
        return left, top, left + round(wide_pct * width), top + round(high_pct * height)
    raise Problem(
        400, f"region: {region[:80]!r}; give full, square, x,y,w,h or pct:x,y,w,h of the picture"
    )


def _size(size: str, wide: int, high: int) -> tuple[int, int]:
    if size == "max":
        return wide, high
    if match := _SHARE.fullmatch(size):
        share = float(match[1]) / 100
        return max(1, round(share * wide)), max(1, round(share * high))
    match = _SIZE.fullmatch(size)
    if match is None or not (match[2] or match[3]):
        raise Problem(400, f"size: {size[:80]!r}; give max, w, ,h w,h !w,h or pct:n")
    fit, out_wide, out_high = match[1], int(match[2] or 0), int(match[3] or 0)
    if fit:
        # The largest that fits, never larger than the region.
        scale = min(1.0, out_wide / wide, out_high / high)
        return (0, 0) if scale == 0 else (max(1, round(scale * wide)), max(1, round(scale * high)))
    if not match[3]:
        return out_wide, max(1, round(high * out_wide / wide))
    if not match[2]:
        return max(1, round(wide * out_high / high)), out_high
    return out_wide, out_high


def _halvings(longest: int) -> int:
    return max(0, math.ceil(math.log2(longest / TILE)))
