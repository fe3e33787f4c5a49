"""Commit written batches of tiles while the scan runs."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Self

from mcn.catalog.storage import CatalogError
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import compact
from mcn.catalog.upkeep.scan_lease import ScanLease
from pipelines.batch import WrittenBatch

logger = logging.getLogger(__name__)


class Committer:
    """Commits written batches after a number of tiles or seconds, whichever comes first.

    Commits run in their own thread, so that slow storage does not stop the scan. Use it as a
    context manager: on exit it commits the batches that are still waiting.

    Parameters
    ----------
    catalog : Catalog
    lease : ScanLease
    tiles, seconds : int, float
        Commit when this many tiles wait, or this long after the first of them arrived.
    committed : callable
        Called after each commit with its batches and the seconds that it took.
    compact_files : int
        After this many new data files, small ones are merged, so that a long scan never leaves
        thousands of them.
    """

    def __init__(
        self,
        catalog: Catalog,
        lease: ScanLease,
        tiles: int,
        seconds: float,
        committed: Callable[[Sequence[WrittenBatch], float], None] = lambda batches, seconds: None,
        compact_files: int = 2000,
    ) -> None:
        self._catalog, self._lease = catalog, lease
        self._tiles, self._seconds = tiles, seconds
        self._committed = committed
        self._compact_files, self._new_files = compact_files, 0
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
        """Commit what waits, also after an error: these tiles are complete."""
        self._waiting.put(None)
        self._thread.join()
        if self._error and not error:
            raise self._error

    def add(self, batch: WrittenBatch) -> None:
        """Queue a batch for the next commit.

        Raises
        ------
        CatalogError
            If an earlier commit failed.
        """
        if self._error:
            raise self._error
        self._waiting.put(batch)

    def _run(self) -> None:
        try:
            batches: list[WrittenBatch] = []
            started = monotonic()
            finished = False
            while not finished:
                timeout = max(0.0, started + self._seconds - monotonic()) if batches else None
                with suppress(queue.Empty):
                    batch = self._waiting.get(timeout=timeout)
                    finished = batch is None
                    if batch is not None:
                        # The clock starts with the first batch: an idle scan commits nothing.
                        started = started if batches else monotonic()
                        batches.append(batch)
                due = finished or monotonic() - started >= self._seconds
                if batches and (due or sum(b.count.tiles for b in batches) >= self._tiles):
                    self._commit(batches)
                    batches = []
        except BaseException as error:
            self._error = error

    def _commit(self, batches: Sequence[WrittenBatch]) -> None:
        started = monotonic()
        data_files = [data_file for batch in batches for data_file in batch.parts]
        self._catalog.commit_parts(data_files, self._lease.announce)
        self._committed(batches, monotonic() - started)
        self._new_files += len(data_files)
        if self._new_files >= self._compact_files:
            self._new_files = 0
            try:
                compact(self._catalog, only_small=True)
            except CatalogError as error:  # The files stay as they are until the next time.
                logger.warning("small files were not merged: %s", error)
