"""Base classes of the errors shown to users, and the message about an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal

StorageTrouble = Literal["unreachable", "refused", "missing", "damaged", "full"]
"""Why a storage request failed; also a label of metrics."""


class McnError(Exception):
    """An error that the user can correct.

    The message is one line with the problem and how to fix it.
    The command line prints it without a traceback and exits 1.
    """


class MissingPackageError(McnError):
    """A package that only some commands need is not installed.

    Parameters
    ----------
    feature : str
        What needs the package.
    package : str
        Its name on PyPI.
    extra : str
        The extra of this project that installs it.
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package}, which is not installed; "
            f"run: pip install {package} (or 'mcn[{extra}]')"
        )
        self.feature = feature
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingPackageError], tuple[str, str, str]]:
        """Pickle the parts of the message, which the constructor takes."""
        return type(self), (self.feature, self.package, self.extra)


class QueryError(McnError):
    """A query that is invalid and cannot succeed unchanged.

    The endpoint responds with a status of 4xx.
    """


class StorageError(McnError):
    """Storage that fails, denies access or contains damaged data, regardless of the query.

    The endpoint responds with a status of 5xx and counts it.

    Parameters
    ----------
    message : str
        One line that names the object and the reason, and says how to fix it.
    trouble : {"unreachable", "refused", "missing", "damaged", "full"}
        *unreachable* may be temporary; the others need intervention.
    """

    def __init__(self, message: str, trouble: StorageTrouble = "unreachable") -> None:
        super().__init__(message)
        self.trouble = trouble

    def __reduce__(self) -> tuple[type[StorageError], tuple[str, StorageTrouble]]:
        """Keep `trouble` when pickled."""
        return type(self), (str(self), self.trouble)


def unknown_name(kind: str, name: str, existing: Sequence[str]) -> str:
    """Message about a name that does not exist, with those that do or that are alike.

    Examples
    --------
    >>> unknown_name("well", "A1", ["A-1", "B-2"])
    "no well 'A1'; did you mean 'A-1'?"
    """
    close = difflib.get_close_matches(name, existing, n=3, cutoff=0.5)
    if close:
        return f"no {kind} {name!r}; did you mean {' or '.join(map(repr, close))}?"
    if not existing:
        return f"no {kind} {name!r}; there is none yet"
    some = ", ".join(map(repr, existing[:10])) + (", …" if len(existing) > 10 else "")
    return f"no {kind} {name!r}; use one of {some}"
