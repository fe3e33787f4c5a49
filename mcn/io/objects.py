"""Objects in storage, fetched and stored whole: bounded, jittered retries where it is remote."""

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
"""Errors that the next try would meet again."""

UNFINISHED: Final = ".new"
"""Ending of a local file that is being written."""

_TRIES: Final = 6
_LONGEST_WAIT_S: Final = 10.0


class ObjectError(McnError):
    """An object that is not read: of an unknown kind of address, or too large."""


class ShortReadError(OSError):
    """Fewer bytes than the object has."""


def filesystem_of(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URI or local path, and the path within it.

    Listings are always fresh. Unlike `fsspec.core.url_to_fs`, no character in a path has a
    meaning of its own: `::` and glob characters are allowed in object names.

    Raises
    ------
    ObjectError
        When there is no file system for the URI's protocol.
    """
    import fsspec

    protocol = uri.partition("://")[0] if "://" in uri else "file"
    try:
        fs = fsspec.filesystem(protocol, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ObjectError(
            f"{uri}: no way to read {protocol}:// here ({error}); use a local path, s3:// or "
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
        Bytes it has, where a listing told; asked for otherwise.
    most : int, optional
        Bytes it may have.

    Raises
    ------
    ObjectError
        If it is larger, before anything is read.
    FileNotFoundError
        If it is not there.
    OSError
        If the storage does not give it, however often it is asked.
    """
    fs, path = filesystem_of(uri)

    def read() -> bytes:
        length: int = fs.size(path) if size is None else size
        if most is not None and length > most:
            raise ObjectError(f"{uri}: it has {length} bytes, and at most {most} are read")
        # Naming both ends spares object stores a request for the size, but none may be empty.
        data: bytes = fs.cat_file(path, start=0, end=length) if length else b""
        if len(data) < length:
            raise ShortReadError(f"{uri}: {len(data)} of {length} bytes came")
        return data

    return read() if _is_local(fs) else retry_storage(read)


def store(uri: str, data: bytes) -> None:
    """Write an object, which is there whole or not at all."""
    fs, path = filesystem_of(uri)
    if _is_local(fs):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + UNFINISHED, "wb") as file:
            file.write(data)
        os.replace(path + UNFINISHED, path)
    else:
        retry_storage(fs.pipe_file, path, data)


def retry_storage(ask: Callable[..., T], *args: Any, **named: Any) -> T:
    """Ask a remote storage until it answers: a few times, waiting longer and by chance."""
    import tenacity

    return tenacity.Retrying(
        retry=tenacity.retry_if_not_exception_type((*_FINAL, KeyboardInterrupt)),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=_LONGEST_WAIT_S),
        stop=tenacity.stop_after_attempt(_TRIES),
        reraise=True,
    )(ask, *args, **named)


def one_line(error: BaseException) -> str:
    """An error's own words on one line, for a message."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _is_local(fs: Any) -> bool:
    protocols = fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)
    return "file" in protocols
