"""Objects that a listing leaves out: hidden names, and keys that no folder can have."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

HIDDEN: Final = "hidden names (a part begins with a dot)"
EMPTY: Final = "keys with an empty part (//)"
NO_TEXT: Final = "names that are not Unicode text"

_PATTERNS: Final = {HIDDEN: r"(^|/)\.", EMPTY: r"^/|//"}


class LeftOut:
    """Counts the objects left out of a scan, with an example of each kind."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def holds(self, below: str) -> bool:
        """Whether an object is left out, by its path below the folder of tiles; counts it."""
        if f"/{below}".find("//") >= 0:
            self._add(EMPTY, below)
        elif f"/{below}".find("/.") >= 0:
            self._add(HIDDEN, below)
        elif not _is_text(below):
            self._add(NO_TEXT, below)
        else:
            return False
        return True

    def mask(self, below: pa.Array) -> pa.Array:
        """The result of `holds` for many paths at once."""
        out = pa.array([False] * len(below), pa.bool_())
        for kind in (EMPTY, HIDDEN):
            is_kind = pc.and_not(pc.match_substring_regex(below, _PATTERNS[kind]), out)
            if count := pc.sum(is_kind).as_py():
                self._add(kind, pc.filter(below, is_kind)[0].as_py(), count)
            out = pc.or_(out, is_kind)
        return out

    def report(self, tiles: str, logger: logging.Logger) -> None:
        """Log one line if anything was left out."""
        if self._counts:
            counts = " and ".join(
                f"{count} {kind}, such as {self._examples[kind]!r}"
                for kind, count in self._counts.items()
            )
            logger.warning("%s: left out %s; rename them if they are tiles", tiles, counts)

    def _add(self, kind: str, example: str, count: int = 1) -> None:
        self._counts[kind] += count
        self._examples.setdefault(kind, example)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
