"""Downloads, checked by sha256 and cached."""

from __future__ import annotations

from pathlib import Path

import pooch

from mcn.errors import McnError


class DownloadError(McnError):
    """A download that failed, or a file with an unexpected sha256."""


def cache() -> Path:
    """The folder of downloaded files."""
    return Path(pooch.os_cache("mcn"))


def download(url: str, sha256: str, file: str, *, progress: bool = False) -> Path:
    """The cached file of this name, downloaded if it is missing or differs.

    Raises
    ------
    DownloadError
        If the download fails, or the file has an unexpected sha256.
    """
    try:
        return Path(
            pooch.retrieve(
                url,
                known_hash=f"sha256:{sha256}",
                fname=file,
                path=cache(),
                progressbar=progress,
            )
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DownloadError(f"cannot be fetched from {url} ({reason})") from error
