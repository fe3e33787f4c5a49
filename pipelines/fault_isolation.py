"""Work on tiles from which each comes back: with its result, or with the reason why not.

Work that fails on several tiles is tried again tile by tile, so that one takes no other along.
A tile that takes its worker along is known to the ledger, and so is one that never ends: its
worker is ended, and the tile has one longer chance alone (`pipelines.watchdog`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, TypeVar

from mcn.errors import McnError
from mcn.io.objects import one_line
from pipelines.attempts import Ledger, Verdict
from pipelines.watchdog import GRACE_S, time_limit

T = TypeVar("T")

_LONGER: Final = 4.0
"""So many times the usual limit has a tile that ran out of time, when it is tried alone."""

_SHRINKS: Final = 3


@dataclass(frozen=True)
class Failure:
    """Why a tile came to nothing, on one line."""

    reason: str


class FaultIsolator:
    """A worker's way to do work on tiles.

    Parameters
    ----------
    stage : str
        Name of the work.
    ledger : actor handle of `Ledger`, optional
        None where nothing is shared: tests, and single pictures.
    seconds : float
        Longest time for a tile, as `pipelines.watchdog.WorkClock` counts it.
    """

    def __init__(self, stage: str, ledger: Any = None, seconds: float = float("inf")) -> None:
        self.stage = stage
        self._ledger = Ledger() if ledger is None else _Remote(ledger)
        self._seconds = seconds

    @property
    def draining(self) -> bool:
        """Whether no new tiles shall be begun."""
        return self._ledger.begin(self.stage, []).draining

    def settle(
        self,
        tiles: Sequence[str],
        items: Sequence[T],
        work: Callable[[Sequence[T], int], Any],
        size: Callable[[T], int] = lambda item: 0,
    ) -> list[Any]:
        """Do work on tiles together, or where that fails one by one.

        Parameters
        ----------
        tiles : sequence of str
            `tile_id` of each item.
        items : sequence
        work : callable
            Given items and how much less memory to use than usual (0: as usual, 1: less, …),
            it gives an outcome for each item.
        size : callable
            Bytes of an item, for the record.

        Returns
        -------
        list
            For each item its outcome, or a `Failure`.
        """
        if not tiles:
            return []
        told = self._ledger.begin(self.stage, tiles)
        if told.quarantined:
            return [Failure(told.quarantined)]
        if not told.alone:
            outcomes = self._attempt(tiles, items, work, told, size)
            if outcomes is not None:
                return outcomes
        return [
            outcome
            for tile, item in zip(tiles, items, strict=True)
            for outcome in self.settle([tile], [item], work, size)
        ]

    def _attempt(
        self,
        tiles: Sequence[str],
        items: Sequence[T],
        work: Callable[[Sequence[T], int], Any],
        told: Verdict,
        size: Callable[[T], int],
    ) -> list[Any] | None:
        """Outcomes, or None where they have to be found one by one."""
        limit = self._seconds * len(tiles) * (_LONGER if told.overdue else 1.0)
        started = perf_counter()
        try:
            with time_limit(limit, lambda: self._ledger.overdue(self.stage, tiles, limit)):
                return _work(items, work, told.kills)
        except Exception as error:
            return [Failure(_reason(self.stage, error))] if len(items) == 1 else None
        finally:
            seconds = perf_counter() - started
            self._ledger.end(self.stage, tiles, seconds, sum(size(item) for item in items))


def _work(items: Sequence[T], work: Callable[[Sequence[T], int], Any], shrink: int) -> list[Any]:
    """Outcomes of work, with less and less memory for an item that there is not enough for."""
    while True:
        try:
            outcomes = list(work(items, shrink))
        except Exception as error:
            if len(items) > 1 or shrink >= _SHRINKS or not is_out_of_memory(error):
                raise
            shrink += 1
            continue
        if len(outcomes) != len(items):
            raise ValueError(f"{len(outcomes)} results for {len(items)} tiles")
        return outcomes


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less work at once may help: Python's, CUDA's and the processor's own words."""
    told = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in told
        or "out of memory" in told
    )


def _reason(stage: str, error: Exception) -> str:
    if isinstance(error, McnError):
        return one_line(error)
    return f"{stage} failed: {type(error).__name__}: {one_line(error)}"


class _Remote:
    """The ledger of a scan, seen from a worker."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def begin(self, stage: str, tiles: Sequence[str]) -> Verdict:
        import ray

        # Work that may end this process starts only when the ledger knows of it.
        verdict: Verdict = ray.get(self._ledger.begin.remote(stage, list(tiles)))
        return verdict

    def end(self, stage: str, tiles: Sequence[str], seconds: float, read: int) -> None:
        self._ledger.end.remote(stage, list(tiles), seconds, read)

    def overdue(self, stage: str, tiles: Sequence[str], limit: float) -> None:
        import ray

        ray.get(self._ledger.overdue.remote(stage, list(tiles), limit), timeout=GRACE_S / 2)
