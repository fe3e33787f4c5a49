"""The one base of all errors a user can meet."""

from __future__ import annotations


class McnError(Exception):
    """Something the user can put right.

    The message is one line that names the thing that is wrong and what to do about it.
    The command line prints it without a traceback and exits 1.
    """
