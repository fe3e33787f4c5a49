"""The end of a scan's stream: groups of written tiles, committed together while the scan runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import Self

from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.scan_lease import ScanLease
from pipelines.batch import WrittenBatch


class Committer:
    """Commits groups by number of tiles or by time, whichever is first, beside the scan.

    A commit takes as long as the storage does, so it has a thread of its own: between `with`
    and its end groups are taken, at the end the last ones are committed.

    Parameters
    ----------
    catalog : Catalog
    lease : ScanLease
    tiles, seconds : int, float
        Commit when so many tiles wait, or when the last commit is so long ago.
    committed : callable
        Told each group that became visible, and the seconds that its commit took.
    """

    def __init__(
        self,
        catalog: Catalog,
        lease: ScanLease,
        tiles: int,
        seconds: float,
        committed: Callable[[Sequence[WrittenBatch], float], None] = lambda groups, took: None,
    ) -> None:
        self._catalog, self._lease = catalog, lease
        self._tiles, self._seconds = tiles, seconds
        self._committed = committed
        self._waiting: queue.SimpleQueue[WrittenBatch | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit what waits, also when the scan has failed: it is done work."""
        self._waiting.put(None)
        self._thread.join()
        if self._error and not error:
            raise self._error

    def add(self, group: WrittenBatch) -> None:
        """Take a group.

        Raises
        ------
        CatalogError
            Where an earlier commit failed.
        """
        if self._error:
            raise self._error
        self._waiting.put(group)

    def _run(self) -> None:
        try:
            groups: list[WrittenBatch] = []
            since = monotonic()
            more: WrittenBatch | None = None
            over = False
            while not over:
                left = max(0.0, since + self._seconds - monotonic()) if groups else None
                try:
                    more = self._waiting.get(timeout=left)
                    over = more is None
                    if more is not None:
                        # The clock starts with the first group: an idle scan commits nothing.
                        since = since if groups else monotonic()
                        groups.append(more)
                except queue.Empty:
                    pass
                due = over or monotonic() - since >= self._seconds
                if groups and (due or sum(one.count.tiles for one in groups) >= self._tiles):
                    self._commit(groups)
                    groups = []
        except BaseException as error:
            self._error = error

    def _commit(self, groups: Sequence[WrittenBatch]) -> None:
        started = monotonic()
        parts = [part for group in groups for part in group.parts]
        self._catalog.commit_parts(parts, self._lease.announce)
        self._committed(groups, monotonic() - started)
