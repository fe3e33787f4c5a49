"""Files fetched once from where they are published, checked by sha256 and kept in a cache."""

from __future__ import annotations

from pathlib import Path

import pooch

from mcn.errors import McnError


class DownloadError(McnError):
    """A file that cannot be fetched, or is not the one that was published."""


def cache() -> Path:
    """The folder that holds what was fetched."""
    return Path(pooch.os_cache("mcn"))


def download(url: str, sha256: str, file: str, *, progress: bool = False) -> Path:
    """The cached file of that name, fetched where it is missing or another.

    Raises
    ------
    DownloadError
        If it cannot be fetched, or is not the file of that sha256.
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
