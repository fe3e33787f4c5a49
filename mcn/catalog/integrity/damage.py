"""Detecting damaged data files, and naming them in errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from mcn.catalog.data_files import (
    digest_in_name,
    digest_of,
    footer_digest_in_name,
    footer_digest_of,
)
from mcn.catalog.storage import CatalogStorageError, storage_trouble
from mcn.errors import McnError
from mcn.io.objects import fetch

CURE: Final = (
    "restore it from a backup or an older version of the object, or scan its tiles into a new "
    "catalogue"
)

_SEARCHED_BYTES: Final = 2**30
"""Maximum number of bytes read again to name the damaged file of a failed query."""

_FOOTER_READERS: Final = 16

_STREAM: Final = re.compile(
    r"^.*?(reading the stream registered as '\w+' failed: |arrow_scan: get_next failed\(\): "
    r"|exporting a stream from the object registered as '\w+' failed: )"
)
_NOT_OF_BYTES: Final = re.compile(
    "errno|AWS Error|curlCode|HTTP status|No such file|NotFound|timed? ?out|Connection"
    "|resolve host",
    re.IGNORECASE,
)


def fault_of_bytes(path: str, data: bytes) -> str | None:
    """Describe what is wrong with a data file: digest, page checksums or format.

    Files of older versions have neither digest nor checksums; only their format is checked.
    """
    digest = digest_in_name(path)
    if digest is not None and digest != digest_of(data):
        return f"damaged: its bytes differ from those that were written; {CURE}"
    try:
        pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
    # The reader and its codecs raise many types of errors on a damaged file.
    except Exception as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        return f"damaged: cannot be read ({reason}); {CURE}"
    return None


def check_footers(fragments: Iterable[pads.ParquetFileFragment]) -> None:
    """Compare the footers of data files with the digests in their names.

    Arrow keeps each footer for the scan that follows, so it is read once.

    Raises
    ------
    OSError
        For a file whose footer is damaged or cannot be read.
    """

    def check(fragment: pads.ParquetFileFragment) -> None:
        footer, digest = fragment.metadata, footer_digest_in_name(fragment.path)
        if digest in (None, footer_digest_of(footer)):
            return
        with fragment.open() as file:  # Another version of Arrow, or damage?
            if fault := fault_of_bytes(fragment.path, file.read()):
                raise OSError(f"{fragment.path}: {fault}")

    every = list(fragments)
    if len(every) == 1:  # The thread takes longer than the check.
        check(every[0])
    elif every:
        with ThreadPoolExecutor(_FOOTER_READERS) as readers:
            for _ in readers.map(check, every):
                pass


def is_of_reading(error: BaseException) -> bool:
    """Whether DuckDB failed because data files could not be read, not because of the query."""
    return _STREAM.match(str(error)) is not None


@contextmanager
def damage_named(uri: str, files: Mapping[str, pa.Table]) -> Iterator[None]:
    """Turn errors of reading data files into one line that names the damaged one."""
    try:
        yield
    except McnError:
        raise
    except Exception as error:
        # Arrow's errors, and plain ones about columns that are null but must not be.
        if isinstance(error, pa.ArrowException | OSError | ValueError) or is_of_reading(error):
            raise reading_fault(uri, error, files) from error
        raise


def reading_fault(
    uri: str, error: BaseException, files: Mapping[str, pa.Table]
) -> CatalogStorageError:
    """Why the data files of a query could not be read, naming the damaged file if there is one.

    Parameters
    ----------
    uri : str
        The catalogue's address.
    error : Exception
        What Arrow or DuckDB raised.
    files : mapping of str to pa.Table
        Files read from each table, as `mcn.catalog.active_files.files` returns them.
    """
    reason = _STREAM.sub("", str(error)).partition("\n")[0]
    reason = re.sub(r"^\w+: ", "", reason).removesuffix(".")
    if _NOT_OF_BYTES.search(reason):
        return storage_trouble(uri, reason)
    for path, fault in _damaged(uri, files):
        return CatalogStorageError(f"{uri}/{path}: {fault}", "damaged")
    return CatalogStorageError(
        f"{uri}: {reason}; `mcn catalog verify` lists damaged files", "damaged"
    )


def _damaged(uri: str, files: Mapping[str, pa.Table]) -> Iterator[tuple[str, str]]:
    searched_bytes = 0
    for name, table_files in files.items():
        for path, size in zip(
            table_files["path"].to_pylist(), table_files["size_bytes"].to_pylist(), strict=True
        ):
            searched_bytes += size
            if searched_bytes > _SEARCHED_BYTES:
                return
            relative_path = f"{name}/{unquote(path)}"
            try:
                fault = fault_of_bytes(relative_path, fetch(f"{uri}/{relative_path}"))
            except OSError:
                continue  # A storage error, not a damaged file.
            if fault:
                yield relative_path, fault
