"""A catalogue whose snapshot is refreshed in the background while it is being asked."""

from __future__ import annotations

import threading
from contextlib import suppress
from time import monotonic
from typing import Final

from mcn.catalog.reading.well_list import list_wells
from mcn.catalog.storage import CatalogError, CatalogStorageError
from mcn.catalog.store import Catalog, NoCatalogError, Snapshot

_IDLE_S: Final = 60.0
"""After so long without a question, the log is left alone until the next one."""


class FreshCatalog:
    """A catalogue that is at most some seconds old for every question.

    A thread reads the new entries of the log, so that no question waits for a commit. If it cannot,
    the question reads them itself, and fails as the storage does.

    Parameters
    ----------
    catalog : Catalog
    most_s : float
        Largest age of a snapshot in seconds; 0 refreshes it for each question.
    """

    def __init__(self, catalog: Catalog, most_s: float) -> None:
        self.catalog = catalog
        self._most_s = most_s
        self._snapshot = catalog.snapshot()
        self._refreshed = self._asked = monotonic()
        self._wake = threading.Event()
        if most_s:
            threading.Thread(
                target=self._refresh_often, name="catalog-refresh", daemon=True
            ).start()

    def snapshot(self) -> Snapshot:
        """The catalogue as it is now, or was at most `most_s` ago.

        Raises
        ------
        CatalogError
            If the storage fails, or the catalogue is gone.
        """
        self._asked = monotonic()
        self._wake.set()
        if self._asked - self._refreshed > self._most_s or not self._most_s:
            self._refresh()
        return self._snapshot

    def _refresh(self) -> None:
        begun = monotonic()
        try:
            self._snapshot = self.catalog.snapshot()
        except NoCatalogError as error:
            # It was open before: its storage is gone or no longer mounted.
            raise CatalogStorageError(
                f"{self.catalog.uri}: the catalogue is gone; restore it or its storage", "missing"
            ) from error
        self._refreshed = begun

    def _refresh_often(self) -> None:
        paused = threading.Event()
        while True:
            self._wake.wait()
            if monotonic() - self._asked > _IDLE_S:
                self._wake.clear()
                continue
            with suppress(CatalogError):  # The next question meets the same error, and reports it.
                self._refresh()
                list_wells(self.catalog, self._snapshot.tiles)  # Kept for the next question.
            paused.wait(self._most_s / 2)
