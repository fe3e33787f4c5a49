"""Reading and writing objects in storage, with retries if it is remote."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from mcn.errors import McnError

T = TypeVar("T")

_FINAL: Final = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    McnError,
)
"""Errors that a retry would not avoid."""

UNFINISHED: Final = ".new"
"""Ending of a local file that is being written."""

_TRIES: Final = 6
_LONGEST_WAIT_S: Final = 10.0


class ObjectError(McnError):
    """An object that cannot be read: unknown protocol, or too large."""


class ShortReadError(OSError):
    """Fewer bytes than the object has."""


def filesystem_of(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URI or local path, and the path within it.

    Listings are always fresh. Unlike in `fsspec.core.url_to_fs`, no character in a path is
    special: `::` and glob characters are allowed in object names.

    Raises
    ------
    ObjectError
        If there is no file system for the URI's protocol.
    """
    import fsspec

    protocol = uri.partition("://")[0] if "://" in uri else "file"
    try:
        fs = fsspec.filesystem(protocol, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ObjectError(
            f"{uri}: {protocol}:// is not supported here ({error}); use a local path, s3:// or "
            "install the fsspec package for it"
        ) from error
    path = fs._strip_protocol(uri)
    return fs, os.path.normpath(path) if protocol == "file" else path


def fetch(uri: str, size: int | None = None, most: int | None = None) -> bytes:
    """The bytes of an object.

    Parameters
    ----------
    uri : str
        Local path or any fsspec URI.
    size : int, optional
        Number of bytes, if known from a listing.
    most : int, optional
        Maximum number of bytes.

    Raises
    ------
    ObjectError
        If the object is larger; nothing is read then.
    FileNotFoundError
        If the object does not exist.
    OSError
        If the storage fails, after several attempts.
    """
    fs, path = filesystem_of(uri)

    def read() -> bytes:
        length: int = fs.size(path) if size is None else size
        if most is not None and length > most:
            raise ObjectError(
                f"{uri}: it has {length} bytes, more than the limit of {most}; use a smaller file"
            )
        # Naming both ends saves a request for the size, but the range may not be empty.
        data: bytes = fs.cat_file(path, start=0, end=length) if length else b""
        if len(data) < length:
            raise ShortReadError(f"{uri}: {len(data)} of {length} bytes were received")
        return data

    return read() if _is_local(fs) else retry_storage(read)


def store(uri: str, data: bytes) -> None:
    """Write an object atomically."""
    fs, path = filesystem_of(uri)
    if _is_local(fs):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + UNFINISHED, "wb") as file:
            file.write(data)
        os.replace(path + UNFINISHED, path)
    else:
        retry_storage(fs.pipe_file, path, data)


def retry_storage(request: Callable[..., T], *args: Any, **named: Any) -> T:
    """Call a remote storage, with a few retries after random, growing waits."""
    import tenacity

    return tenacity.Retrying(
        retry=tenacity.retry_if_not_exception_type((*_FINAL, KeyboardInterrupt)),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=_LONGEST_WAIT_S),
        stop=tenacity.stop_after_attempt(_TRIES),
        reraise=True,
    )(request, *args, **named)


def one_line(error: BaseException) -> str:
    """The message of an error on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _is_local(fs: Any) -> bool:
    protocols = fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)
    return "file" in protocols
