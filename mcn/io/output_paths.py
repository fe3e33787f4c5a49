"""Folders and files that a command writes, checked before its work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mcn.errors import McnError


class OutputError(McnError):
    """A folder or file that cannot be written."""


def prepare_folder(folder: Path) -> None:
    """Make a folder, with those above it, and check that files can be written there.

    Raises
    ------
    OutputError
        If they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"{folder}: is, or lies in, a file; choose another folder") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{folder}: cannot be written ({reason}); choose another folder"
        ) from error


def prepare_file(file: Path) -> None:
    """Make the folder of a file, and check that the file can be written.

    Raises
    ------
    OutputError
        If it cannot, or is a folder.
    """
    if file.is_dir():
        raise OutputError(f"{file}: is a folder; give the name of a file")
    prepare_folder(file.parent)
