"""Damage in a Delta log that `deltalake` does not notice or name: truncated or changed entries.

`deltalake` reads an entry that is empty, or ends between two lines, without an error, and its rows
are missing. Each commit therefore stores a digest of its actions in its entry, and `open_table`
compares the digests of all entries since the last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from mcn.catalog.storage import (
    CatalogStorageError,
    data_files,
    gist,
    log_options,
    retry_response,
)
from mcn.io.objects import retry_storage

_SEAL: Final = "mcn.actions"
_SEAL_VERSION: Final = "2/"
"""Begins each seal; entries that were sealed in another way are not compared."""

_RETRIES: Final = 100
_READERS: Final = 16
_ENTRY: Final = re.compile(r"(\d{20})\.json")
_CHECKPOINT: Final = re.compile(r"(\d{20})\.checkpoint(\.[\w-]+)*\.parquet")

_checked: dict[tuple[str, str], int] = {}
"""Folder and id of a table → version up to which its entries, which never change, were checked."""


def sealed(
    actions: Sequence[AddAction | RemoveAction],
    retries: int = _RETRIES,
    notes: Mapping[str, str] | None = None,
) -> CommitProperties:
    """Commit properties that store a digest of these actions, and notes, in the log entry.

    Without retries, a commit is refused if any other was made since the table was opened.
    """
    lines: list[dict[str, Any]] = [
        {
            "add": {
                "path": action.path,
                "size": action.size,
                "partitionValues": dict(action.partition_values),
                "stats": action.stats,
            }
        }
        if isinstance(action, AddAction)
        else {"remove": {"path": action.path, "size": action.size}}
        for action in actions
    ]
    metadata = {_SEAL: _digest(lines), **(notes or {})}
    return CommitProperties(metadata, max_commit_retries=retries)


def open_table(uri: str, name: str, version: int | None = None) -> DeltaTable:
    """Open the latest version of a table, or another one, and check its log.

    Raises
    ------
    TableNotFoundError
        If there is no table.
    CatalogStorageError
        If the log is damaged; the message names the file and says how to fix it.
    """
    try:
        table = retry_response(
            partial(DeltaTable, f"{uri}/{name}", version, storage_options=log_options(uri))
        )
    except TableNotFoundError:
        raise
    except DeltaError as error:
        # Searching for a damaged file is useless if the store itself does not respond.
        if "S3 error" not in str(error):
            if fault := find_fault(uri, name):
                raise fault from error
            if "Kernel error" in str(error):  # It was read, and what it says makes no sense.
                raise CatalogStorageError(
                    f"{uri}/{name}/_delta_log: an entry or checkpoint of the log was changed "
                    f"({gist(str(error))}); restore the log from a backup",
                    "damaged",
                ) from error
        raise
    check_entries(uri, name, table)
    return table


def check_entries(uri: str, name: str, table: DeltaTable, *, again: bool = False) -> None:
    """Compare the entries since the table's last checkpoint with their digests.

    Parameters
    ----------
    uri : str
        The catalogue's address.
    name : {"crystals", "tiles"}
    table : DeltaTable
        The table as it was opened.
    again : bool
        Also compare entries that this process has checked before.

    Raises
    ------
    CatalogStorageError
        For an entry that is empty, cut short or changed; the message says how to fix it.
    """
    version = table.version()
    file_system, folder = _log_of(uri, name)
    key = f"{uri}/{name}", str(table.metadata().id)
    if not again and _checked.get(key, -1) >= version:
        return
    compared = -1 if again else _checked.get(key, -1)
    first = max(compared, _last_checkpoint(file_system, folder)) + 1
    versions = range(first, version + 1)

    def fault(number: int) -> str | None:
        try:
            return _entry_fault(_read(file_system, f"{folder}/{number:020d}.json"), number)
        except FileNotFoundError:
            return None  # Older than the log's retention; `deltalake` reports gaps itself.

    with ThreadPoolExecutor(max(1, min(_READERS, len(versions)))) as readers:
        for number, entry_fault in zip(versions, readers.map(fault, versions), strict=True):
            if entry_fault:
                raise _of_entry(uri, name, number, entry_fault, is_newest=number == version)
    _checked[key] = version


def read_entry(
    file_system: pafs.FileSystem, uri: str, name: str, number: int
) -> list[dict[str, Any]] | None:
    """The actions of one entry of a table's log, checked; None if there is no such entry.

    Raises
    ------
    CatalogStorageError
        For an entry that is empty, cut short or changed, as in `check_entries`.
    """
    data = read_entry_bytes(file_system, uri, name, number)
    if data is None:
        return None
    if fault := _entry_fault(data, number):
        raise _of_entry(uri, name, number, fault, is_newest=True)
    return [json.loads(line) for line in data.splitlines() if line]


def read_entry_bytes(
    file_system: pafs.FileSystem, uri: str, name: str, number: int
) -> bytes | None:
    """One entry of a table's log as it is stored; None if there is no such entry."""
    path = f"{uri.removeprefix('s3://')}/{name}/_delta_log/{number:020d}.json"
    if not uri.startswith("s3://") and not os.path.exists(path):
        return None  # This is asked before each question, and mostly there is none.
    try:
        return _read(file_system, path)
    except FileNotFoundError:
        return None


def last_checkpoint(file_system: pafs.FileSystem, uri: str, name: str) -> int:
    """The version of a table's newest checkpoint; -1 without one."""
    return _last_checkpoint(file_system, f"{uri.removeprefix('s3://')}/{name}/_delta_log")


def find_fault(uri: str, name: str) -> CatalogStorageError | None:
    """The error for the file that makes a log unreadable, or None."""
    file_system, folder = _log_of(uri, name)
    log_files = file_system.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    names = sorted(info.base_name for info in log_files)
    versions = [int(match[1]) for file_name in names if (match := _ENTRY.fullmatch(file_name))]
    checkpoints = {
        file_name: int(match[1])
        for file_name in names
        if (match := _CHECKPOINT.fullmatch(file_name))
    }
    for file_name, version in checkpoints.items():
        try:
            pq.ParquetFile(file_system.open_input_file(f"{folder}/{file_name}")).read()
        # The reader raises many types of errors on a damaged file.
        except Exception:
            return _of_checkpoint(uri, name, file_name, versions, version)
    later_versions = [
        number for number in versions if number > max(checkpoints.values(), default=-1)
    ]
    for number in later_versions:
        data = _read(file_system, f"{folder}/{number:020d}.json")
        if fault := _entry_fault(data, number):
            return _of_entry(uri, name, number, fault, is_newest=number == versions[-1])
    start = max(checkpoints.values(), default=-1) + 1
    for number, expected in zip(
        later_versions, range(start, start + len(later_versions)), strict=True
    ):
        if number != expected:
            return _of_entry(uri, name, expected, "is missing", is_newest=False)
    hint = f"{folder}/_last_checkpoint"
    if _last_checkpoint(file_system, folder) not in {*checkpoints.values(), -1}:
        return CatalogStorageError(
            f"{hint}: names a missing checkpoint; restore the checkpoint from a backup, or delete "
            "this file: the log's entries contain the same",
            "damaged",
        )
    return None


def _of_entry(
    uri: str, name: str, number: int, fault: str, *, is_newest: bool
) -> CatalogStorageError:
    otherwise = (
        ", or, as it is the newest, delete it, run `mcn catalog verify` to see what is missing, "
        "and scan again"
        if is_newest
        else ""
    )
    return CatalogStorageError(
        f"{uri}/{name}/_delta_log/{number:020d}.json: this entry of the log {fault}; "
        f"restore it from a backup{otherwise}",
        "damaged",
    )


def _of_checkpoint(
    uri: str, name: str, file: str, versions: Sequence[int], version: int
) -> CatalogStorageError:
    folder = f"{uri}/{name}/_delta_log"
    needed = range(version + 1)
    advice = (
        "delete it and _last_checkpoint beside it: the entries before it contain the same"
        if {*needed} <= {*versions}
        else "restore it from a backup"
    )
    return CatalogStorageError(f"{folder}/{file}: this checkpoint is damaged; {advice}", "damaged")


def _entry_fault(data: bytes, number: int) -> str | None:
    if not data.strip():
        return "is empty"
    try:
        lines: list[Mapping[str, Any]] = [json.loads(line) for line in data.splitlines() if line]
        seal = next((each["commitInfo"].get(_SEAL) for each in lines if "commitInfo" in each), None)
        if seal and seal.startswith(_SEAL_VERSION) and seal != _digest(lines):
            return "is cut short or was changed"
        kinds = {kind for line in lines for kind in line}
        if number == 0 and not {"protocol", "metaData"} <= kinds:
            return "is cut short or was changed"
    # A value of an unexpected type is damage as well.
    except (ValueError, TypeError, AttributeError, KeyError):
        return "is cut short or was changed"
    return None


def _digest(lines: Sequence[Mapping[str, Any]]) -> str:
    """Number and digest of the files that an entry adds and removes."""
    facts = [
        [
            kind,
            fields["path"].rpartition("/")[2],
            fields["size"],
            fields["partitionValues"] if kind == "add" else None,
            fields.get("stats"),
        ]
        for line in lines
        for kind, fields in line.items()
        if kind in ("add", "remove")
    ]
    facts.sort(key=lambda fact: fact[:2])
    text = json.dumps(facts, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return f"{_SEAL_VERSION}{len(facts)}:{digest}"


def _last_checkpoint(file_system: pafs.FileSystem, folder: str) -> int:
    try:
        return int(json.loads(_read(file_system, f"{folder}/_last_checkpoint"))["version"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return -1


def _log_of(uri: str, name: str) -> tuple[pafs.FileSystem, str]:
    file_system, root = data_files(uri)
    return file_system, f"{root}/{name}/_delta_log"


def _read(file_system: pafs.FileSystem, path: str) -> bytes:
    def read() -> bytes:
        with file_system.open_input_stream(path) as stream:
            return bytes(stream.readall())

    return retry_storage(read)
