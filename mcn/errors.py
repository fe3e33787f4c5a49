"""The errors that a user can meet: a wrong question and storage trouble are two kinds."""

from __future__ import annotations

from typing import Literal

StorageTrouble = Literal["unreachable", "refused", "missing", "damaged", "full"]
"""Why a storage does not give or take what it should, also as a label of metrics."""


class McnError(Exception):
    """Something the user can put right.

    The message is one line that names the thing that is wrong and what to do about it.
    The command line prints it without a traceback and exits 1.
    """


class MissingPackageError(McnError):
    """A package that only some commands need is not installed.

    Parameters
    ----------
    what : str
        What cannot be done without it.
    package : str
        Its name at the registry.
    extra : str
        The extra of this project that brings it.
    """

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package}, which is not installed; "
            f"run: pip install {package} (or 'mcn[{extra}]')"
        )


class QueryError(McnError):
    """A question that cannot be answered as it is asked; asked otherwise it can.

    The endpoint answers it with a status of 4xx.
    """


class StorageError(McnError):
    """Storage that is gone, refuses, breaks off or holds damaged bytes; no question mends it.

    The endpoint answers it with a status of 5xx, and counts it.

    Parameters
    ----------
    message : str
        One line that names the place, the reason and the cure.
    trouble : {"unreachable", "refused", "missing", "damaged", "full"}
        *unreachable* may pass by itself; the others need somebody.
    """

    def __init__(self, message: str, trouble: StorageTrouble = "unreachable") -> None:
        super().__init__(message)
        self.trouble = trouble

    def __reduce__(self) -> tuple[type[StorageError], tuple[str, StorageTrouble]]:
        """Pass between processes with its trouble."""
        return type(self), (str(self), self.trouble)
