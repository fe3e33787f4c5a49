"""Run work on tiles so that every tile gets a result or a `Failure`.

Work that fails on a batch is retried tile by tile, so that one bad tile does not fail the
others. The attempt log remembers tiles that killed their worker or ran out of time. A tile that
runs out of time is retried once, alone and with a longer limit
(`pipelines.fault_isolation.watchdog`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, TypeVar

from mcn.errors import McnError
from mcn.io.objects import one_line
from pipelines.fault_isolation.attempts import AttemptLog, Verdict
from pipelines.fault_isolation.watchdog import GRACE_S, time_limit

T = TypeVar("T")

_RETRY_FACTOR: Final = 4.0
"""How many times longer the time limit is when a tile that ran out of time is retried alone."""

_MAX_SHRINKS: Final = 3
"""How often work on one tile is retried with less memory."""


@dataclass(frozen=True)
class Failure:
    """Why a tile failed, in one line."""

    reason: str


class FaultIsolator:
    """Runs the work of one stage on tiles, in one worker.

    Parameters
    ----------
    stage : str
        Name of the stage.
    attempt_log : AttemptLog or actor handle of one, optional
        A scan shares one between its workers. A new one if not given.
    seconds : float
        Time limit per tile, as `pipelines.fault_isolation.watchdog.WorkClock` counts it.
    """

    def __init__(self, stage: str, attempt_log: Any = None, seconds: float = float("inf")) -> None:
        self.stage = stage
        attempt_log = attempt_log or AttemptLog()
        self._attempt_log = (
            attempt_log if isinstance(attempt_log, AttemptLog) else _RemoteAttemptLog(attempt_log)
        )
        self._seconds = seconds

    @property
    def draining(self) -> bool:
        """Whether the scan is stopping and no new tiles should be started."""
        return self._attempt_log.begin(self.stage, []).draining

    def run(
        self,
        tiles: Sequence[str],
        items: Sequence[T],
        work: Callable[[Sequence[T], int], Any],
        size: Callable[[T], int] = lambda item: 0,
    ) -> list[Any]:
        """Run work on tiles as a batch, and tile by tile if the batch fails.

        Parameters
        ----------
        tiles : sequence of str
            `tile_id` of each item.
        items : sequence
        work : callable
            Takes items and how much to reduce the memory in use (0: not at all, 1: once, …).
            Returns one outcome per item.
        size : callable
            Bytes of an item, for the metrics.

        Returns
        -------
        list
            The outcome of each item, or a `Failure`.
        """
        if not tiles:
            return []
        verdict = self._attempt_log.begin(self.stage, tiles)
        if verdict.quarantined:
            return [Failure(verdict.quarantined)]
        if not verdict.alone:
            outcomes = self._attempt(tiles, items, work, verdict, size)
            if outcomes is not None:
                return outcomes
        return [
            outcome
            for tile, item in zip(tiles, items, strict=True)
            for outcome in self.run([tile], [item], work, size)
        ]

    def _attempt(
        self,
        tiles: Sequence[str],
        items: Sequence[T],
        work: Callable[[Sequence[T], int], Any],
        verdict: Verdict,
        size: Callable[[T], int],
    ) -> list[Any] | None:
        """Outcomes of a batch, or None if its items must be tried one by one."""
        limit = self._seconds * len(tiles) * (_RETRY_FACTOR if verdict.overdue else 1.0)
        started = perf_counter()
        try:
            with time_limit(limit, lambda: self._attempt_log.overdue(self.stage, tiles, limit)):
                return _run_with_less_memory(items, work, verdict.kills)
        except Exception as error:
            return [Failure(_reason(self.stage, error))] if len(items) == 1 else None
        finally:
            seconds = perf_counter() - started
            self._attempt_log.end(self.stage, tiles, seconds, sum(size(item) for item in items))


def _run_with_less_memory(
    items: Sequence[T], work: Callable[[Sequence[T], int], Any], shrink: int
) -> list[Any]:
    """Outcomes of work; a single item that runs out of memory is retried with less of it."""
    while True:
        try:
            outcomes = list(work(items, shrink))
        except Exception as error:
            if len(items) > 1 or shrink >= _MAX_SHRINKS or not is_out_of_memory(error):
                raise
            shrink += 1
            continue
        if len(outcomes) != len(items):
            raise ValueError(f"{len(outcomes)} results for {len(items)} tiles")
        return outcomes


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, CUDA or PyTorch on the CPU means that memory ran out."""
    message = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in message
        or "out of memory" in message
    )


def _reason(stage: str, error: Exception) -> str:
    if isinstance(error, McnError):
        return one_line(error)
    return f"{stage} failed: {type(error).__name__}: {one_line(error)}"


class _RemoteAttemptLog:
    """The attempt log of a scan, called from a worker."""

    def __init__(self, attempt_log: Any) -> None:
        self._attempt_log = attempt_log

    def begin(self, stage: str, tiles: Sequence[str]) -> Verdict:
        import ray

        # Wait for the attempt log to record the attempt: the work may kill this process.
        verdict: Verdict = ray.get(self._attempt_log.begin.remote(stage, list(tiles)))
        return verdict

    def end(self, stage: str, tiles: Sequence[str], seconds: float, read: int) -> None:
        self._attempt_log.end.remote(stage, list(tiles), seconds, read)

    def overdue(self, stage: str, tiles: Sequence[str], limit: float) -> None:
        import ray

        ray.get(self._attempt_log.overdue.remote(stage, list(tiles), limit), timeout=GRACE_S / 2)
