"""An SEM image with its pixel size: reading files, vendor metadata, data bar."""

from mcn.micrograph.picture import DEFAULT_LIMITS, Limits
from mcn.micrograph.reading import (
    Micrograph,
    MicrographError,
    MicrographScaleError,
    MicrographSizeError,
    decode_micrograph,
    read_micrograph,
)

__all__ = [
    "DEFAULT_LIMITS",
    "Limits",
    "Micrograph",
    "MicrographError",
    "MicrographScaleError",
    "MicrographSizeError",
    "decode_micrograph",
    "read_micrograph",
]
