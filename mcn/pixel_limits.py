"""The smallest and largest pixel size that is accepted, from files, manifests and requests."""

from __future__ import annotations

from typing import Final

MIN_UM: Final = 1e-6
MAX_UM: Final = 1e3
"""One picometre to one millimetre: the range of any electron microscope."""
