"""Lengths in files: numbers with units in words, symbols, entities and garbled signs."""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Final

NUMBER: Final = r"[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?"

_UM: Final = {
    "km": 1e9,
    "hm": 1e8,
    "dam": 1e7,
    "m": 1e6,
    "dm": 1e5,
    "cm": 1e4,
    "mm": 1e3,
    "um": 1.0,
    "u": 1.0,
    "nm": 1e-3,
    "å": 1e-4,
    "pm": 1e-6,
    "fm": 1e-9,
    "in": 25400.0,
    "inch": 25400.0,
    "inches": 25400.0,
    "ft": 304800.0,
    "foot": 304800.0,
    "feet": 304800.0,
    "yd": 914400.0,
    "yard": 914400.0,
    "pt": 25400 / 72,
    "li": 25400 / 12,
    "micron": 1.0,
    "mikron": 1.0,
    "micra": 1.0,
    "angstrom": 1e-4,
    "ångström": 1e-4,
    "thou": 25.4,
    "mil": 25.4,
    "м": 1e6,
    "см": 1e4,
    "мм": 1e3,
    "мкм": 1.0,
    "микрон": 1.0,
    "нм": 1e-3,
    "厘米": 1e4,
    "毫米": 1e3,
    "微米": 1.0,
    "纳米": 1e-3,
    "奈米": 1e-3,
    "埃": 1e-4,
    "マイクロメートル": 1.0,
    "ミクロン": 1.0,
    "ナノメートル": 1e-3,
    "마이크로미터": 1.0,
    "나노미터": 1e-3,
}
"""Symbols and words of OME and, as ImageJ takes any, of other languages."""
_PREFIXES: Final = {
    "": 1e6,
    "deci": 1e5,
    "centi": 1e4,
    "zenti": 1e4,
    "milli": 1e3,
    "mili": 1e3,
    "micro": 1.0,
    "mikro": 1.0,
    "микро": 1.0,
    "nano": 1e-3,
    "нано": 1e-3,
    "pico": 1e-6,
    "piko": 1e-6,
    "femto": 1e-9,
}
_METRE: Final = r"([a-z]*|[а-я]*)[ -]?(?:met(?:ern?|re|ro|ri|r)|метр(?:ов|ы)?)"
# In OME these are mega- and petametres; if case is ignored they are other units.
_TOO_LONG: Final = ("Mm", "Pm")
_LONGEST: Final = 64
"""Maximum number of characters of a unit."""


def unit_um(word: str | None) -> float | None:
    """Micrometres per unit of length; None for any other word.

    Symbols (`nm`, `µm` with either of Unicode's signs, `Å`), words in either English spelling,
    single or plural (`micrometers`, `Nanometre`, `microns`, `inch`) and in other languages
    (`Mikrometer`, `micromètres`, `мкм`, `微米`), entities of XML (`&#181;m`, `&#xB5;m`,
    `&micro;m`) and escapes of ImageJ (`\\u00B5m`) are read. Case is ignored. A micro sign that
    was garbled by a change of code page (`?m`, `Âµm`, `ƒÊm`) is recognised, since no other prefix
    of the metre is outside ASCII.

    Examples
    --------
    >>> [unit_um(word) for word in ("nm", "&#181;m", "Micrometers", "\\\\u00C5", "pixel")]
    [0.001, 1.0, 1.0, 0.0001, None]
    """
    plain = _unescaped((word or "")[:_LONGEST]).strip("\0 \t\r\n\"'()[]")
    plain = re.split(r"/|\s+per\s|\(s\)?", plain, maxsplit=1)[0].strip().rstrip(".,;")
    if plain in _TOO_LONG:
        return None
    if re.fullmatch(r"(?:[^\x00-\x7f]|\?){1,4}m", plain):
        return 1.0
    plain = unicodedata.normalize("NFKC", plain.replace("Ã…", "Å").replace("Ã\x85", "Å"))
    plain = plain.replace("μ", "u").lower()
    if plain in _UM:
        return _UM[plain]
    # Without accents: `micromètre`, `nanómetros`.
    plain = "".join(c for c in unicodedata.normalize("NFD", plain) if not unicodedata.combining(c))
    singular = plain.removesuffix("s")
    metre = re.fullmatch(_METRE, singular)
    return _PREFIXES.get(metre[1]) if metre else _UM.get(singular)


def number(text: str | None) -> float | None:
    """The number at the start of a text; the decimal sign may be a comma."""
    match = re.match(rf"\s*({NUMBER})", text or "")
    return float(match[1].replace(",", ".")) if match else None


def length_um(text: str | None, unit: str) -> float | None:
    """A length in micrometres, from a number with a unit or, without one, in the given unit.

    Programs that divided by zero wrote `nan` or `inf`.
    """
    match = re.match(rf"\s*({NUMBER}|[-+]?(?:nan|inf)\b)[ \t\xa0]*([^\n]*)", text or "", re.I)
    if not match:
        return None
    own = match[2].strip("\0 \t\r")
    factor = unit_um(own) or unit_um(own.partition(" ")[0]) if own else unit_um(unit)
    return None if factor is None else float(match[1].replace(",", ".")) * factor


def lengths_um(text: str | None, unit: str) -> list[tuple[float, float]]:
    """Lengths in a row, such as `1280um 960um`, `1280 x 960 µm` or `1.28mm`.

    A length without a unit has the unit of the next length, of the previous one, or the given
    unit.

    Returns
    -------
    list of (float, float)
        Micrometres, and the relative error of each from the digits that it is written with.
        Empty if a unit is unknown.
    """
    numbers_and_units = re.findall(
        rf"({NUMBER})\s*([^\s\d.,;×*+-]*)", _unescaped((text or "")[: 4 * _LONGEST])
    )
    words = ["" if word.lower() in ("x", "by") else word for _, word in numbers_and_units]
    lengths = []
    for i, (digits, _) in enumerate(numbers_and_units):
        word = next((w for w in (*words[i:], *reversed(words[:i])) if w), unit)
        factor, value = unit_um(word), float(digits.replace(",", "."))
        if factor is None or not value:
            return []
        mantissa, _, exponent = digits.lower().replace(",", ".").partition("e")
        step = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        lengths.append((value * factor, abs(step / 2 / value)))
    return lengths


def _unescaped(text: str) -> str:
    escaped = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda match: chr(int(match[1], 16)), text)
    # Unescape twice, as some writers escape twice.
    return html.unescape(html.unescape(escaped))
