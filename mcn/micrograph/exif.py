"""EXIF blocks of JPEG and PNG files.

References
----------
Exif 3.0, 4.6.5; PNG third edition, chunk eXIf.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

_MAX_BYTES: Final = 2**20


def exif_tags(exif: bytes) -> Mapping[int, Any]:
    """Tags of the first directory of an EXIF block; none of a missing or damaged block."""
    from PIL.Image import Exif

    if not exif:
        return {}
    block = Exif()
    try:
        with warnings.catch_warnings(action="ignore"):
            block.load(exif[:_MAX_BYTES])
            return dict(block)
    # The library raises many types of errors on a damaged block; the picture is usable without.
    except Exception:
        return {}
