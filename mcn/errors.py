"""The one base of all errors a user can meet."""

from __future__ import annotations


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
