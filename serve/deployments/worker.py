"""The thread of a replica that loads and runs a model, one call at a time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, perf_counter
from typing import Any, TypeVar

from serve.deployments.messages import StageTiming

T = TypeVar("T")
R = TypeVar("R")


class ModelWorker:
    """A model, and a thread that runs it, so that the replica's event loop stays free.

    Parameters
    ----------
    load : callable
        Loads the model of a name.
    threads : int
        Threads of the model's library.
    max_call_s : float
        A call that takes longer, in seconds, makes `check` fail.

    Attributes
    ----------
    model : Any
        The loaded model; set by `use`.
    """

    model: Any

    def __init__(self, load: Callable[[str], Any], threads: int, max_call_s: float) -> None:
        self._load = load
        self._name: str | None = None
        self._executor = ThreadPoolExecutor(1, "model")
        self._threads, self._max_call_s = threads, max_call_s
        self._call_started: float | None = None

    async def use(self, name: str) -> None:
        """Load the model of this name; the previous one is used until it is loaded."""
        if name != self._name:
            self.model = await self._submit(lambda: self._load(name))
            self._name = name

    async def run(
        self, function: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]
    ) -> list[tuple[R | Exception, StageTiming]]:
        """Call a function with a batch of items.

        If that fails, call it with each item alone, so that an item that cannot be processed
        fails no other.

        Returns
        -------
        list of tuple
            For each item its result or exception, and the timing of the batch.
        """
        started = perf_counter()

        def run_batch() -> list[R | Exception]:
            try:
                return list(function(items))
            except Exception as error:
                if len(items) == 1:
                    return [error]
            return [_run_alone(function, item) for item in items]

        outcomes = await self._submit(run_batch)
        timing = StageTiming(perf_counter() - started, len(items))
        return [(outcome, timing) for outcome in outcomes]

    async def run_in_steps(
        self, steps: Generator[float, None, R]
    ) -> AsyncGenerator[float | R, None]:
        """Run a generator step by step; other calls have their turn between two steps.

        A consumer that stops early ends the generator after its current step.

        Yields
        ------
        float or R
            What the generator yields, and last what it returns.
        """

        def advance() -> tuple[float | R, bool]:
            try:
                return next(steps), False
            except StopIteration as end:  # It cannot pass through a future.
                return end.value, True

        is_over = False
        try:
            while not is_over:
                value, is_over = await self._submit(advance)
                yield value
        finally:
            self._executor.submit(steps.close)

    def check(self) -> None:
        """Raise RuntimeError if a call has not returned in time."""
        started = self._call_started
        if started is not None and monotonic() - started > self._max_call_s:
            raise RuntimeError(f"the model has not returned for {self._max_call_s:g} s")

    async def _submit(self, function: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._run_timed, function)

    def _run_timed(self, function: Callable[[], T]) -> T:
        self._call_started = monotonic()
        try:
            if "torch" in sys.modules and sys.modules["torch"].get_num_threads() != self._threads:
                sys.modules["torch"].set_num_threads(self._threads)
            return function()
        finally:
            self._call_started = None


def _run_alone(function: Callable[[Sequence[T]], Sequence[R]], item: T) -> R | Exception:
    try:
        return function([item])[0]
    except Exception as error:
        return error


def result_of(outcome: Any) -> Any:
    """The result of an outcome of `ModelWorker.run`; raises its exception."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
