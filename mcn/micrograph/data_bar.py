"""The data bar that a microscope writes under its picture.

A strip counts as a bar if it meets all of these conditions: its ground (the background of the
text) is one grey level over the whole width, without detector noise; it begins at a straight
line, above which that level is rare; it has text (sharp ink that leaves most of each row
free); and it reaches the bottom. A false bar costs crystals, while a missed bar only adds some
false crystals in the text, so doubtful strips are not bars. Text written over the specimen
without a ground is not a bar.

Pictures may be resized and saved as JPEG after the bar was drawn, which blurs its edge, adds
ripples around the letters and leaves few rows. If there is much text, a less distinct edge or a
noisier ground is then accepted. Tuned on the pictures of EMPS at 0.4 to 2 times their size
(Lanczos, bicubic, area) and JPEG qualities of 60 to 95, before, after or both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SEARCHED: Final = 0.3
"""Part of the picture's height, from the bottom, in which a bar may begin."""
_MIN_ROWS: Final = 4
_ABOVE: Final = 0.04
_ABOVE_ROWS: Final = (16, 40)
"""Part of the height above the bar in which its ground must be rare, with a minimum and maximum
number of rows."""
_MARGIN: Final = 0.05
"""Part of the height that frame lines and blank margins below the bar may take."""
_MAX_GAP: Final = 0.012
"""Part of the height over which ruled lines may hide the ground."""
_FRAME: Final = 3
_TOLERANCES: Final = (4, 10, 24)
"""Grey levels around the ground: narrow for dark specimens, wide for JPEG and resizing."""
_FLAT: Final = 12
_SMOOTH: Final = 2
"""Step between neighbours in a drawn ground, which has no detector noise."""
_INK: Final = 50
"""Minimum difference in grey levels between ink and ground."""
_STROKE: Final = 0.045
"""Maximum mean width of a stroke of ink, as a part of the picture's width."""
_BESIDE_TEXT: Final = 0.3
"""Minimum part of a row that is ground, however dense its text."""


def find_data_bar(pixels: NDArray[np.uint8]) -> int | None:
    """First row of the data bar at the bottom of a micrograph.

    Parameters
    ----------
    pixels : (H, W) uint8 array

    Returns
    -------
    int or None
        None if no strip is certainly a data bar.

    Examples
    --------
    >>> picture = np.random.default_rng(0).integers(60, 200, (480, 640), dtype=np.uint8)
    >>> find_data_bar(picture) is None
    True
    """
    height, width = pixels.shape
    n_above = int(np.clip(_ABOVE * height, *_ABOVE_ROWS))
    top = height - int(_SEARCHED * height) - n_above
    if top < 0 or width < 32:
        return None
    rows = pixels[top:]
    below = _counts_below(rows)
    medians = (2 * below[:, 1:] <= width).sum(axis=1)
    is_flat = _share(below, medians, _FLAT) >= 0.9
    is_margin = is_flat.copy()
    is_margin[: len(rows) - int(_MARGIN * height)] = False
    is_line = _share(below, medians, 2 * _FLAT) >= 0.85
    max_gap = max(4, int(_MAX_GAP * height))
    for ground in _grounds(medians, is_margin, is_line, max(4, int(0.015 * height))):
        for tolerance in _TOLERANCES:
            share = _share(below, np.full(len(rows), ground), tolerance)
            for y, is_plain in _upper_edges(share, is_margin, is_line, max_gap, n_above):
                if _bears_text(rows[y + 1 :], ground, tolerance, share[y + 1 :], is_plain):
                    # Include the frame line over the bar, or rows where the edge is blurred.
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


def _grounds(
    medians: NDArray[np.int64],
    is_margin: NDArray[np.bool_],
    is_line: NDArray[np.bool_],
    n_rows: int,
) -> list[int]:
    """Possible levels of the ground.

    They are the level of the lowest rows, the level above a margin and, if text reaches down to
    the margin, the level of the rows without text.
    """
    n_blank = int(np.argmin(is_margin[::-1]))
    levels = [
        np.median(medians[-n_rows:]),
        np.median(medians[len(medians) - n_blank - n_rows : len(medians) - n_blank]),
    ]
    low = medians[-8 * n_rows :][(is_line & ~is_margin)[-8 * n_rows :]]
    if low.size:
        levels.append(np.median(low))
    grounds: list[int] = []
    for level in map(int, levels):
        if all(abs(level - other) > 3 for other in grounds):
            grounds.append(level)
    return grounds


def _upper_edges(
    share: NDArray[np.float64],
    is_margin: NDArray[np.bool_],
    is_line: NDArray[np.bool_],
    max_gap: int,
    n_above: int,
) -> Iterator[tuple[int, bool]]:
    """Possible first rows of a bar, and whether the edge at each is distinct.

    A bar begins abruptly and reaches the bottom. Edges are less distinct in small pictures,
    where text begins in the second row of the bar, and between a dark specimen and a dark bar.
    """
    is_other = ~((share >= _BESIDE_TEXT) | is_margin)
    gaps = np.convolve(is_other, np.ones(max_gap + 1), mode="valid") > max_gap
    start = int(np.flatnonzero(gaps)[-1]) + max_gap + 1 if gaps.any() else 0
    for y in range(max(start, n_above), len(share) - _MIN_ROWS + 1):
        # Without the rows over which an enlarged edge is blurred.
        above = share[y - n_above : y - max(1, n_above // 16)].max()
        strip = share[y:]
        if share[y] < 0.45 or above > 0.65 or strip.mean() < 0.45 or strip.max() < 0.8:
            continue
        begin = share[y + 1 : y + 4].mean()
        if above <= 0.5 and begin >= 0.55 and begin - above >= 0.3:
            yield y, bool(strip.mean() >= 0.6 and strip.max() >= 0.85)
            continue
        first = np.sort(share[y : y + 4])[-2:].mean()
        # A line over the whole width separates a dark specimen from a dark bar.
        is_ruled = (is_line[y - _FRAME : y] & (share[y - _FRAME : y] <= 0.08)).any()
        if first >= 0.7 and (is_ruled or first - above >= 0.35):
            yield y, False


def _bears_text(
    strip: NDArray[np.uint8],
    ground: int,
    tolerance: int,
    share: NDArray[np.float64],
    is_plain: bool,
) -> bool:
    """Whether a strip has sharp ink of another level on a ground without noise.

    More ink is needed if the edge is not distinct, or JPEG has added ripples around the letters.
    """
    values = strip.astype(np.int16)
    difference = np.abs(values - ground)
    ink = difference > _INK
    # A row full of ink is a ruled line or a margin.
    lines = ink[(share >= _BESIDE_TEXT) & ink.any(axis=1)]
    if not len(lines) or not 0.004 < ink.mean() < 0.5:
        return False
    strokes = (lines[:, 1:] != lines[:, :-1]).sum() / len(lines)
    # A scale drawn into the picture is thicker than letters.
    if 2 * lines.mean() > _STROKE * strokes:
        return False
    columns = lines.any(axis=0).mean()
    is_smooth = np.abs(np.diff(values, axis=1)) <= _SMOOTH
    if is_plain and is_smooth.mean() >= 0.5:
        return bool(columns > 0.12 and strokes >= 5)
    is_ground = difference <= tolerance
    quiet = is_smooth[is_ground[:, 1:] & is_ground[:, :-1]]
    # A box over a part of the width is not a bar.
    n_side = max(2, strip.shape[1] // 25)
    reach = min(is_ground[:, :n_side].mean(), is_ground[:, -n_side:].mean())
    return bool(
        quiet.size and quiet.mean() >= 0.45 and columns > 0.45 and strokes >= 20 and reach >= 0.1
    )
