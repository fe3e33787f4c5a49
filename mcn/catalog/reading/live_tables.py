"""The newest snapshot of a catalogue, kept up to date entry by entry."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

import pyarrow.fs as pafs
from deltalake import DeltaTable

from mcn.catalog.active_files import Snapshot, TableSnapshot
from mcn.catalog.integrity.delta_log import (
    last_checkpoint,
    read_entry,
    read_entry_bytes,
)
from mcn.catalog.reading.fragments import Fragments
from mcn.catalog.reading.log_entries import apply_entry, committed_at
from mcn.catalog.storage import data_files

_LOOK_AGAIN_S: Final = 60.0
"""After this time, what rarely changes is looked at again: keys, and whether it is the same log."""


class LiveTables:
    """Both tables of a catalogue as they are now. Safe to use from several threads.

    The lists of files stay in memory, and each question reads the entries of the log that were
    added since the one before.

    Parameters
    ----------
    uri : str
        The catalogue's address.
    load : callable
        Opens the table of this name.
    stays : bool
        The tables that are loaded first stay as they are, as they are of older versions.
    """

    def __init__(self, uri: str, load: Callable[[str], DeltaTable], *, stays: bool = False) -> None:
        self._stays = stays
        self._uri = uri
        self._file_system, self._root = data_files(uri)
        self._looked = monotonic()
        self._lock = threading.RLock()
        self._tables = {
            name: _LiveTable(uri, name, partial(load, name)) for name in ("tiles", "crystals")
        }
        self._fragments = Fragments(self._file_system, self._root)
        self._snapshot: Snapshot | None = None

    @property
    def fragments(self) -> Fragments:
        """The data files that were read last."""
        return self._fragments

    @property
    def latest(self) -> Snapshot | None:
        """The snapshot as it was last refreshed, at once; None before `refresh`."""
        return self._snapshot

    def loaded(self, tiles: DeltaTable, crystals: DeltaTable) -> None:
        """Start from tables that have been opened, the first before the second."""
        with self._lock:
            for name, table in (("tiles", tiles), ("crystals", crystals)):
                self._tables[name].start(table, self._file_system)

    def refresh(self) -> Snapshot:
        """The snapshot with all commits until now."""
        with self._lock:
            if self._stays and self._snapshot is not None:
                return self._snapshot
            if self._stays:
                tables = {
                    name: self._tables[name].loaded(self._file_system) for name in self._tables
                }
                self._snapshot = Snapshot(**tables)
                return self._snapshot
            thorough = monotonic() - self._looked > _LOOK_AGAIN_S
            if thorough:
                self._renew_keys()
            # In this order, the crystals of each tile row in the snapshot are committed already.
            tiles = self._tables["tiles"].refresh(self._file_system, thorough=thorough)
            crystals = self._tables["crystals"].refresh(self._file_system, thorough=thorough)
            if (
                self._snapshot is None
                or self._snapshot.tiles is not tiles
                or self._snapshot.crystals is not crystals
            ):
                self._snapshot = Snapshot(tiles, crystals)
            if thorough:
                self._looked = monotonic()
            return self._snapshot

    def committed_at(self) -> float | None:
        """When the newest tiles were committed, in seconds since 1970; None if unknown."""
        return self._tables["tiles"].committed_at

    def _renew_keys(self) -> None:
        file_system, root = data_files(self._uri)
        if not file_system.equals(self._file_system):
            self._file_system = file_system
            self._fragments = Fragments(file_system, root)


class _LiveTable:
    """One table as it is now."""

    def __init__(self, uri: str, name: str, load: Callable[[], DeltaTable]) -> None:
        self._uri, self._name, self._load = uri, name, load
        self._snapshot: TableSnapshot | None = None
        self._newest: bytes | None = None
        self.committed_at: float | None = None
        self._folder: int | None = None

    def start(self, table: DeltaTable, file_system: pafs.FileSystem) -> TableSnapshot:
        self._folder = self._inode()
        self._snapshot = TableSnapshot.of(self._name, table)
        data = read_entry_bytes(file_system, self._uri, self._name, self._snapshot.version)
        self._newest = _digest(data)
        self.committed_at = _committed_at(data or b"")
        return self._snapshot

    def loaded(self, file_system: pafs.FileSystem) -> TableSnapshot:
        return self._snapshot or self.start(self._load(), file_system)

    def refresh(self, file_system: pafs.FileSystem, *, thorough: bool) -> TableSnapshot:
        snapshot = self._snapshot
        if snapshot is None or self._is_another(snapshot, file_system, thorough=thorough):
            return self.start(self._load(), file_system)
        read = partial(read_entry, file_system, self._uri, self._name)
        while (lines := read(snapshot.version + 1)) is not None:
            later = apply_entry(snapshot, snapshot.version + 1, lines)
            if later is None:
                return self.start(self._load(), file_system)
            snapshot = self._snapshot = later
            self._newest, self.committed_at = None, committed_at(lines)
        return snapshot

    def _is_another(
        self, snapshot: TableSnapshot, file_system: pafs.FileSystem, *, thorough: bool
    ) -> bool:
        """Whether the log is gone, was made anew, or no longer has the entries that follow."""
        if self._folder != self._inode():
            return True
        if not thorough:
            return False
        read = partial(read_entry_bytes, file_system, self._uri, self._name)
        newest = _digest(read(snapshot.version))
        if self._newest is None:  # It was applied since the last time.
            self._newest = newest
        return newest != self._newest or (
            last_checkpoint(file_system, self._uri, self._name) > snapshot.version
            and read(snapshot.version + 1) is None
        )

    def _inode(self) -> int | None:
        """What changes if a local folder is replaced; None for object storage."""
        if self._uri.startswith("s3://"):
            return None
        try:
            return os.stat(f"{self._uri}/{self._name}/_delta_log").st_ino
        except FileNotFoundError:
            return -1


def _digest(data: bytes | None) -> bytes | None:
    return None if data is None else hashlib.blake2b(data, digest_size=16).digest()


def _committed_at(data: bytes) -> float | None:
    """As `committed_at`, without parsing the files of a large entry."""
    about = [json.loads(line) for line in data.splitlines() if line.startswith(b'{"commitInfo"')]
    return committed_at(about)
