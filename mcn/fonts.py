"""Fonts for names of any script in figures.

Matplotlib draws a text with the first font of a list that has a letter. The fonts here are added
to that list when a name needs them: those of the extra `mcn[fonts]`, then those of the system.
"""

from __future__ import annotations

import functools
import unicodedata
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import matplotlib
import matplotlib.font_manager as font_manager

_PACKAGES: Final = ("manimgx_fonts", "noto_cjk_sans_otc")
"""Packages of the extra `fonts`, which hold font files and nothing else."""

_WITHOUT_GLYPH: Final = {"Cc", "Cf", "Zs", "Zl", "Zp"}
"""Unicode categories of control characters, invisible marks and spaces."""

_UNDRAWABLE: Final = "\ufffd"
_FIRST: Final = ("Noto Sans", "Noto")


class MissingGlyphWarning(UserWarning):
    """Letters that no installed font has; the message says what to install."""


def drawable(text: str) -> str:
    """A text for a figure, after adding the fonts that its letters need.

    Letters that no font has are replaced by U+FFFD, with a `MissingGlyphWarning`.

    Examples
    --------
    >>> drawable("Köln 2")
    'Köln 2'
    """
    letters = {letter for letter in text if unicodedata.category(letter) not in _WITHOUT_GLYPH}
    missing = {letter for letter in letters if not _is_covered(letter)}
    if missing:
        missing -= _add_fonts(missing)
    if missing:
        shown = "".join(sorted(missing)[:10])
        warnings.warn(
            f"no font has {shown!r} of {text!r}, drawn as {_UNDRAWABLE}; install fonts with "
            "pip install 'mcn[fonts]', or those of the system for this script (Debian: "
            "fonts-noto-core, fonts-noto-cjk)",
            MissingGlyphWarning,
            stacklevel=2,
        )
    return "".join(
        _UNDRAWABLE if letter in missing else " " if _is_control(letter) else letter
        for letter in text
    )


def _is_control(letter: str) -> bool:
    return letter != "\n" and unicodedata.category(letter) == "Cc"


def _is_covered(letter: str) -> bool:
    return any(ord(letter) in _letters_of(name) for name in matplotlib.rcParams["font.family"])


def _add_fonts(missing: set[str]) -> set[str]:
    """Add fonts that have these letters to the list of families; return the letters found."""
    _register_packages()
    found: set[str] = set()
    for name in _regular_families():
        here = {letter for letter in missing - found if ord(letter) in _letters_of(name)}
        if here:
            matplotlib.rcParams["font.family"] = [*matplotlib.rcParams["font.family"], name]
            found |= here
        if found == missing:
            break
    return found


@functools.cache
def _register_packages() -> None:
    for package in _PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).glob("*.tt[fc]")):
                font_manager.fontManager.addfont(path)


def _regular_families() -> list[str]:
    """Families with an upright regular face, the plainest first."""
    names = {
        entry.name
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and str(entry.weight) in ("400", "normal", "regular", "book")
    }
    # Fonts that have a glyph for every letter, such as Last Resort, only draw boxes.
    plain = [name for name in names if "last resort" not in name.casefold()]
    return sorted(plain, key=lambda name: ([not name.startswith(start) for start in _FIRST], name))


@functools.cache
def _letters_of(family: str) -> frozenset[int]:
    """Code points of a family's regular face."""
    try:
        properties = font_manager.FontProperties(family=[family])
        path = font_manager.findfont(properties, fallback_to_default=family == "sans-serif")
        return frozenset(font_manager.get_font(path).get_charmap())
    except (ValueError, RuntimeError, OSError):
        return frozenset()  # not installed, or no font after all
