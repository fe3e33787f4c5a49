"""Depth ranges: reading them from text, and checking them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Set
from decimal import Decimal
from numbers import Real
from typing import Final

from mcn.catalog.active_files import Depths
from mcn.catalog.storage import CatalogQueryError

FOOT_M: Final = Decimal("0.3048")
"""Metres in an international foot, exactly."""

_METRES: Final = {"m", "metre", "metres", "meter", "meters"}
_FEET: Final = {"ft", "foot", "feet", "'", "′", "’"}
_END: Final = re.compile(r"\s*(?P<number>.*?)\s*(?P<unit>[^\W\d_]+|['′’])?\s*")
_EXAMPLES: Final = "1200:1250, 1200:, :1250 or 4000ft:4100ft"


def parse_depth(text: str) -> Depths:
    """Read a depth range such as `"1200:1250"`, `"1200:"`, `":1250"` or `"4000ft:4100ft"`.

    A number without a unit is in metres. Units are `m` and `ft`, or the words for them, in any
    case, and `'` for feet. Both ends may have different units, but a number without a unit
    cannot be combined with one in feet, as it would be ambiguous.

    Returns
    -------
    (float or None, float or None)
        Lowest and highest depth in metres; None is open. A foot is exactly 0.3048 m.

    Raises
    ------
    CatalogQueryError
        If the text is not a range of numbers, has another unit, or is reversed.

    Examples
    --------
    >>> parse_depth("4000 ft : 1250 m")
    (1219.2, 1250.0)
    """
    ends = text.split(":")
    if len(ends) != 2 or not any(end.strip() for end in ends):
        raise CatalogQueryError(_no_range(text))
    low, high = (_parse_end(end, text) for end in ends)
    if low and high and {low[1], high[1]} == {None, "ft"}:
        raise CatalogQueryError(
            f"depth {_shown(text)} has feet at one end and no unit at the other; give both ends a "
            "unit, such as 4000ft:4100ft or 4000ft:1250m"
        )
    depths = low[0] if low else None, high[0] if high else None
    if depths[0] is not None and depths[1] is not None and depths[0] > depths[1]:
        raise CatalogQueryError(
            f"depth {_shown(text)} is reversed; write the smaller depth first: "
            f"{ends[1].strip()}:{ends[0].strip()}"
        )
    return depths


def parse_length(text: str) -> float:
    """Read a length such as `"10"`, `"10 m"` or `"10ft"`, with the units of `parse_depth`.

    Returns
    -------
    float
        The length in metres.

    Raises
    ------
    CatalogQueryError
        If the text is not a number, or has another unit.

    Examples
    --------
    >>> parse_length("10 ft")
    3.048
    """
    message = f"length {_shown(text)} is not a number of metres or feet; write it as 10 or 10ft"
    try:
        end = _parse_end(text, text)
    except CatalogQueryError:
        raise CatalogQueryError(message) from None
    if end is None:
        raise CatalogQueryError(message)
    return end[0]


def check_depth(depth: Depths | None) -> Depths | None:
    """Check a depth range given as numbers.

    Returns
    -------
    (float or None, float or None) or None
        The range in metres as floats, or None if there is none.

    Raises
    ------
    CatalogQueryError
        If it is not a pair of finite numbers or None, or is reversed.
    """
    if depth is None:
        return None
    # A set or a dict has no order.
    is_range = not isinstance(depth, str | Set | Mapping) and hasattr(depth, "__len__")
    if not is_range or len(depth) != 2:
        raise CatalogQueryError(
            f"depth {depth!r} is not a range; give (lowest, highest) in metres, None for an open "
            "end (parse_depth reads text)"
        )
    for end in depth:
        if end is not None and not _is_finite(end):
            raise CatalogQueryError(
                f"depth {end!r} is not a number of metres; give a finite number, or None for an "
                "open end"
            )
    low, high = (None if end is None else float(end) for end in depth)
    if low is not None and high is not None and low > high:
        raise CatalogQueryError(
            f"depths {low:g} to {high:g} m are reversed; give the smaller first: {high:g}, {low:g}"
        )
    return low, high


def _is_finite(end: object) -> bool:
    try:
        return not isinstance(end, bool) and isinstance(end, Real) and math.isfinite(end)
    except OverflowError:
        return False


def _parse_end(end: str, text: str) -> tuple[float, str | None] | None:
    """Metres and unit of one end; None if it is open."""
    if not end.strip():
        return None
    parts = _END.fullmatch(end)
    if parts is None:
        raise CatalogQueryError(_no_range(text))
    number, word = parts["number"], parts["unit"]
    try:
        value = float(number)
    except ValueError:
        raise CatalogQueryError(_no_range(text)) from None
    if not math.isfinite(value):
        raise CatalogQueryError(_no_range(text))
    if word is None:
        return value, None
    if word.casefold() in _METRES:
        return value, "m"
    if word.casefold() in _FEET:
        # In decimals, so that 4000 ft are exactly 1219.2 m.
        return float(Decimal(number) * FOOT_M), "ft"
    raise CatalogQueryError(
        f"depth {_shown(text)}: unknown unit {word[:20]!r}, use m or ft; write it as {_EXAMPLES}"
    )


def _no_range(text: str) -> str:
    return f"depth {_shown(text)} is not a range of depths; write it as {_EXAMPLES}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")
