"""Leases of running scans, which record that a scan is alive and what it is committing.

A scan keeps one small object, `_scans/SCAN_ID.json` beside the tables, for as long as it runs.
Another scan that finds the lease of a dead scan cleans up after it (`mcn.catalog.upkeep.recovery`).
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mcn.catalog.data_files import DataFile
from mcn.catalog.storage import CatalogError, CatalogStorageError, explained
from mcn.catalog.store import Catalog
from mcn.io.objects import fetch, filesystem_of, retry_storage, store

logger = logging.getLogger(__name__)

FOLDER: Final = "_scans"
BEAT_S: Final = 20.0
DEAD_S: Final = 300.0
"""A scan on another machine without a heartbeat for this long is considered dead."""

_FENCED: Final = ".fenced"


class LostScanError(CatalogError):
    """The scan was considered dead, and its uncommitted work is deleted."""

    @classmethod
    def of(cls, catalog: Catalog, scan_id: str) -> LostScanError:
        """The error of a scan that has lost its entry."""
        return cls(
            f"{catalog.uri}: scan {scan_id} sent no heartbeat for {DEAD_S:g} s and was replaced by "
            "another scan; run it again"
        )


@dataclass(frozen=True)
class LeaseEntry:
    """The stored state of a scan.

    Parameters
    ----------
    scan_id : str
    place, process : str, int
        Machine (and container) it runs on, and its process there.
    started : str
        When it began, in ISO 8601, by its own clock.
    pending : tuple of DataFile
        Parts of `crystals` with tile rows that may not be committed yet.
    """

    scan_id: str
    place: str
    process: int
    started: str
    pending: tuple[DataFile, ...] = ()

    def as_bytes(self) -> bytes:
        """The entry as it is stored, JSON."""
        return json.dumps(asdict(self)).encode()


class ScanLease:
    """A context manager that keeps a scan's entry alive with a heartbeat thread.

    Parameters
    ----------
    catalog : Catalog
    scan_id : str
    """

    def __init__(self, catalog: Catalog, scan_id: str) -> None:
        self._catalog = catalog
        self._entry = LeaseEntry(scan_id, _place(), os.getpid(), datetime.now(UTC).isoformat())
        self._uri = _address(catalog, scan_id)
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._lost = False
        self._beat = threading.Thread(target=self._keep_fresh, name="scan-lease", daemon=True)

    @property
    def entry(self) -> LeaseEntry:
        """The entry as it was last written."""
        return self._entry

    def __enter__(self) -> Self:
        with explained(self._catalog.uri):
            store(self._uri, self._entry.as_bytes())
        self._beat.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the heartbeat. The entry stays until `release`, so that leftovers are cleaned up."""
        self._over.set()
        self._beat.join()

    def announce(self, parts: Sequence[DataFile]) -> None:
        """Record the crystals that are about to be committed before their tile rows.

        Raises
        ------
        LostScanError
            If another run considers this one dead.
        """
        self._write(tuple(parts))

    def _keep_fresh(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                self._write()
            except LostScanError:
                self._lost = True
                return
            except Exception:
                # Storage libraries raise many types of errors. A few missed beats do no harm.
                logger.warning("scan %s: the heartbeat cannot be stored", self._entry.scan_id)

    def _write(self, pending: tuple[DataFile, ...] | None = None) -> None:
        with self._writing, explained(self._catalog.uri):
            if self._lost or _is_over(self._uri):
                raise LostScanError.of(self._catalog, self._entry.scan_id)
            if pending is not None:
                self._entry = replace(self._entry, pending=pending)
            store(self._uri, self._entry.as_bytes())


def entries(catalog: Catalog) -> list[tuple[LeaseEntry, datetime]]:
    """The scans that have an entry, with the time of the last heartbeat by the storage's clock."""
    fs, folder = filesystem_of(f"{catalog.uri}/{FOLDER}")
    known = []
    with explained(catalog.uri):
        try:
            listing = retry_storage(fs.ls, folder, detail=True)
        except FileNotFoundError:
            return []
        for info in listing:
            if not info["name"].endswith(".json"):
                continue
            try:
                known.append((_read(fs.unstrip_protocol(info["name"])), _changed(info)))
            except FileNotFoundError:
                continue  # The scan has ended meanwhile.
    return known


def is_dead(entry: LeaseEntry, beat: datetime, now: datetime) -> bool:
    """Whether a scan has ended without releasing its lease.

    Parameters
    ----------
    entry, beat
        As `entries` returns them.
    now : datetime
        Current time by the storage's clock, so that clocks of machines need not agree.
    """
    if (now - beat).total_seconds() > DEAD_S:
        return True
    return entry.place == _place() and not _runs(entry.process)


def fence(catalog: Catalog, scan_id: str) -> None:
    """Prevent a scan that is considered dead from committing anything later."""
    with explained(catalog.uri):
        store(_address(catalog, scan_id) + _FENCED, b"")


def release(catalog: Catalog, scan_id: str) -> None:
    """Delete a scan's entry and its working folder."""
    fs, path = filesystem_of(_address(catalog, scan_id))
    # The entry is deleted last; until then another run can repeat the cleanup.
    with explained(catalog.uri):
        for left in (path.removesuffix(".json"), path + _FENCED, path):
            if retry_storage(fs.exists, left):
                retry_storage(fs.rm, left, recursive=True)


def folder_of(catalog: Catalog, scan_id: str) -> str:
    """A scan's working folder, which exists as long as its entry."""
    return _address(catalog, scan_id).removesuffix(".json")


def _address(catalog: Catalog, scan_id: str) -> str:
    return f"{catalog.uri}/{FOLDER}/{scan_id}.json"


def _read(uri: str) -> LeaseEntry:
    data = fetch(uri)
    try:
        fields = json.loads(data)
        fields["pending"] = tuple(DataFile(**part) for part in fields["pending"])
        return LeaseEntry(**fields)
    except (ValueError, TypeError, KeyError):
        raise CatalogStorageError(
            f"{uri}: this scan's entry is cut short or was changed; delete it once no scan is "
            "running, then run `mcn catalog verify`",
            "damaged",
        ) from None


def _is_over(uri: str) -> bool:
    """Whether another run is cleaning up after this scan, or has done so."""
    fs, path = filesystem_of(uri)
    return bool(retry_storage(fs.exists, path + _FENCED)) or not retry_storage(fs.exists, path)


def _changed(info: dict[str, Any]) -> datetime:
    changed = info.get("LastModified") or info.get("mtime")
    if isinstance(changed, datetime):
        return changed
    return datetime.fromtimestamp(changed or 0.0, UTC)


def _place() -> str:
    """The boot of the machine and the container, within which process numbers are unique."""
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{started}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
