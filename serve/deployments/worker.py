"""A model at work in a replica: one call at a time, off the event loop, and watched."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, perf_counter
from typing import Any, TypeVar

from serve.deployments.messages import StageTiming

T = TypeVar("T")
R = TypeVar("R")


class Worker:
    """A model, and a thread that does its work, so that the replica answers meanwhile.

    Parameters
    ----------
    load : callable
        Gives the model of a name.
    threads : int
        Threads of the model's library.
    seconds : float
        A call that takes longer means that the replica is to be replaced.
    """

    model: Any
    """The one at work, after the first `use`."""

    def __init__(self, load: Callable[[str], Any], threads: int, seconds: float) -> None:
        self._load = load
        self._used: str | None = None
        self._thread = ThreadPoolExecutor(1, "model")
        self._threads, self._seconds = threads, seconds
        self._since: float | None = None

    async def use(self, name: str) -> None:
        """Load the model of this name; the one before works until then."""
        if name != self._used:
            self.model = await self._do(lambda: self._load(name))
            self._used = name

    async def _do(self, work: Callable[[], T]) -> T:
        """Do one piece of work after those before it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._timed, work)

    async def do_all(
        self, work: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]
    ) -> list[tuple[R | Exception, StageTiming]]:
        """Work on items together, and where that fails one by one, so that one spoils no other."""
        started = perf_counter()

        def together() -> list[R | Exception]:
            try:
                return list(work(items))
            except Exception as error:
                if len(items) == 1:
                    return [error]
            return [_alone(work, item) for item in items]

        outcomes = await self._do(together)
        effort = StageTiming(perf_counter() - started, len(items))
        return [(outcome, effort) for outcome in outcomes]

    def check(self) -> None:
        """Raise where a call does not come back."""
        since = self._since
        if since is not None and monotonic() - since > self._seconds:
            raise RuntimeError(f"the model has not come back for {self._seconds:g} s")

    def _timed(self, work: Callable[[], T]) -> T:
        self._since = monotonic()
        try:
            if "torch" in sys.modules and sys.modules["torch"].get_num_threads() != self._threads:
                sys.modules["torch"].set_num_threads(self._threads)
            return work()
        finally:
            self._since = None


def _alone(work: Callable[[Sequence[T]], Sequence[R]], item: T) -> R | Exception:
    try:
        return work([item])[0]
    except Exception as error:
        return error


def given(outcome: Any) -> Any:
    """A result, or the error that stands in its place."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
