"""The data bar that a microscope writes under its picture.

A drawn bar differs from a specimen, and a strip has to show all of this to be one: its
ground is one grey level over the whole width and free of detector noise, it begins at a
straight line above which that level is rare, it bears text (sharp ink that leaves most of
each row free), and it reaches the bottom. A false bar costs crystals, a missed one only
some false crystals in the text, so doubt speaks against a bar. Text written over the
specimen without a ground is no bar.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_SEARCHED: Final = 0.3
"""Part of the picture's height, from the bottom, in which a bar may begin."""
_MIN_ROWS: Final = 8
_ABOVE: Final = 20
"""Rows above the bar in which its ground has to be rare."""
_MARGIN: Final = 0.05
"""Part of the height that frame lines and blank margins below the bar may take."""
_MAX_GAP: Final = 0.012
"""Part of the height over which ruled lines may hide the ground."""
_FRAME: Final = 3
_TOLERANCES: Final = (4, 10, 24)
"""Grey levels about the ground: exact for dark specimens, wide for JPEG and resizing."""
_FLAT: Final = 12
_SMOOTH: Final = 2
"""Step between neighbours in a drawn ground, which has no detector noise."""
_INK: Final = 50
"""Least difference in grey levels of ink and ground."""


def find_data_bar(pixels: NDArray[np.uint8]) -> int | None:
    """First row of the data bar at the bottom of a micrograph.

    Parameters
    ----------
    pixels : (H, W) uint8 array

    Returns
    -------
    int or None
        None where there is no strip that is surely a data bar.

    Examples
    --------
    >>> picture = np.random.default_rng(0).integers(60, 200, (480, 640), dtype=np.uint8)
    >>> find_data_bar(picture) is None
    True
    """
    height, width = pixels.shape
    top = height - int(_SEARCHED * height) - _ABOVE
    if top < 0 or width < 4 * _MIN_ROWS:
        return None
    rows = pixels[top:]
    below = _counts_below(rows)
    medians = (2 * below[:, 1:] <= width).sum(axis=1)
    is_flat = _share(below, medians, _FLAT) >= 0.9
    is_margin = is_flat.copy()
    is_margin[: len(rows) - int(_MARGIN * height)] = False
    max_gap = max(4, int(_MAX_GAP * height))
    for ground in _grounds(medians, is_margin, max(6, int(0.015 * height))):
        for tolerance in _TOLERANCES:
            share = _share(below, np.full(len(rows), ground), tolerance)
            y = _upper_edge(share, is_margin, max_gap)
            if y is not None and _bears_text(rows[y + 1 :], ground, share[y + 1 :]):
                # The frame line over the bar, or rows in which the edge is blurred.
                frame = is_flat[y - _FRAME : y][::-1]
                return int(top + y - np.cumprod(frame).sum())
    return None


def _counts_below(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many pixels of each row are darker than 0, 1, …, 256: (n, 257)."""
    n = len(rows)
    keys = rows + np.arange(0, 256 * n, 256, dtype=np.int64)[:, None]
    counts = np.bincount(keys.ravel(), minlength=256 * n).reshape(n, 256)
    below = np.zeros((n, 257), dtype=np.int64)
    np.cumsum(counts, axis=1, out=below[:, 1:])
    return below


def _share(
    below: NDArray[np.int64], levels: NDArray[np.int64], tolerance: int
) -> NDArray[np.float64]:
    """Part of each row within the tolerance of its level."""
    rows = np.arange(len(below))
    high = below[rows, np.minimum(levels + tolerance + 1, 256)]
    return (high - below[rows, np.maximum(levels - tolerance, 0)]) / below[:, -1]


def _grounds(medians: NDArray[np.int64], is_margin: NDArray[np.bool_], n_rows: int) -> list[int]:
    """Levels that the ground may have: that of the lowest rows, and that above a margin."""
    n_blank = int(np.argmin(is_margin[::-1]))
    lowest = int(np.median(medians[-n_rows:]))
    above = int(np.median(medians[len(medians) - n_blank - n_rows : len(medians) - n_blank]))
    return [lowest] if abs(above - lowest) <= 3 else [lowest, above]


def _upper_edge(
    share: NDArray[np.float64], is_margin: NDArray[np.bool_], max_gap: int
) -> int | None:
    """First row of the strip at the bottom that has the ground, if it begins abruptly."""
    is_other = ~((share >= 0.45) | is_margin)
    gaps = np.convolve(is_other, np.ones(max_gap + 1), mode="valid") > max_gap
    start = int(np.flatnonzero(gaps)[-1]) + max_gap + 1 if gaps.any() else 0
    has_ground = np.flatnonzero(share[start:] >= 0.45)
    if not has_ground.size:
        return None
    y = start + int(has_ground[0])
    if y < _ABOVE or len(share) - y < _MIN_ROWS:
        return None
    above = share[y - _ABOVE : y - 1].max()
    begin = share[y + 1 : y + 4].mean()
    is_abrupt = above <= 0.5 and begin >= 0.55 and begin - above >= 0.3
    is_ground = share[y:].mean() >= 0.6 and share[y:].max() >= 0.85
    return y if is_abrupt and is_ground else None


def _bears_text(strip: NDArray[np.uint8], ground: int, share: NDArray[np.float64]) -> bool:
    """Whether sharp ink of another level stands here and there on a ground without noise."""
    values = strip.astype(np.int16)
    is_smooth = np.abs(np.diff(values, axis=1)) <= _SMOOTH
    ink = np.abs(values - ground) > _INK
    # A row full of ink is a ruled line or a margin.
    lines = ink[(share >= 0.3) & ink.any(axis=1)]
    if not len(lines) or is_smooth.mean() < 0.5:
        return False
    strokes = (lines[:, 1:] != lines[:, :-1]).sum() / len(lines)
    return bool(0.004 < ink.mean() < 0.5 and lines.any(axis=0).mean() > 0.12 and strokes >= 5)
