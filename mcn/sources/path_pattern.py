"""Patterns for well and depth in the path of a tile."""

from __future__ import annotations

import re
import string
import unicodedata
from typing import Final

from mcn.errors import McnError

DEFAULT_PATTERN: Final = "well={well}/depth={depth_m}/{name}"


_NUMBER = r"[-+]?[0-9]+(?:\.[0-9]+)?"


class SourceError(McnError):
    """A source of tiles that cannot be used; the message says which, why, and how to fix it."""


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of a path pattern such as `well={well}/depth={depth_m}/{name}`.

    `{depth_m}` matches a decimal number, and any other field matches one or more characters
    without a slash; everything else matches literally.

    Raises
    ------
    SourceError
        If the pattern is malformed, lacks a required field, or is ambiguous.
    """
    pattern = unicodedata.normalize("NFC", pattern)
    advice = f"write it like {DEFAULT_PATTERN!r}"
    try:
        parts = list(string.Formatter().parse(pattern.strip("/")))
    except ValueError as error:
        raise SourceError(f"pattern {pattern!r} cannot be read ({error}); {advice}") from error
    expression = ""
    fields: list[str] = []
    for literal, field, spec, conversion in parts:
        if fields and field is not None and not literal:
            raise SourceError(
                f"pattern {pattern!r} has nothing between {{{fields[-1]}}} and {{{field}}}; "
                f"{advice}"
            )
        expression += re.escape(literal)
        if field is None:
            continue
        if spec or conversion or not field.isidentifier() or field in fields:
            raise SourceError(
                f"pattern {pattern!r}: {{{field}}} must be a plain name used once; {advice}"
            )
        fields.append(field)
        expression += f"(?P<{field}>{_NUMBER if field == 'depth_m' else '[^/]+'})"
    for needed in ("well", "depth_m"):
        if needed not in fields:
            raise SourceError(f"pattern {pattern!r} has no {{{needed}}}; {advice}")
    return re.compile(expression)
