"""How the ingress asks the other deployments: bounded, once more after a death, in words."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, RayServeException

from mcn.micrograph import Micrograph
from serve.deployments.messages import AnalysisResult, Refusal, StageTiming
from serve.http.errors import Problem, too_busy
from serve.metrics import ServeMetrics
from serve.settings import ReplicaPlan, Settings

_RETRY_AFTER_S: Final = 1
_STORAGE_RETRY_AFTER_S: Final = 10
_DIED: Final = (RayActorError, RayServeException)
"""A replica's own death, and that of one before it, of which Serve has no type of its own."""


@dataclass
class Gate:
    """How many requests are inside, and how many may be.

    Parameters
    ----------
    most : int
        More are refused at once, before their body is read.
    """

    most: int
    inside: int = 0
    pace_s: float = field(default=1.0)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside, or be refused."""
        if self.inside >= self.most:
            wait = max(_RETRY_AFTER_S, math.ceil(self.pace_s))
            raise too_busy(f"{self.inside} requests are at work; try again in {wait} s", wait)
        self.inside += 1
        started = perf_counter()
        try:
            yield
        finally:
            self.inside -= 1
            self.pace_s += 0.1 * (perf_counter() - started - self.pace_s)


@dataclass(frozen=True)
class Services:
    """The other deployments, as the routes use them.

    Parameters
    ----------
    segmenter, classifier, reader : DeploymentHandle
    settings : Settings
    pools : ReplicaPlan
    metrics : ServeMetrics
    """

    segmenter: Any
    classifier: Any
    reader: Any
    settings: Settings
    pools: ReplicaPlan
    metrics: ServeMetrics
    analyses: Gate
    crops: Gate

    async def ask(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """An answer of a deployment, asked for once more where its replica died.

        Raises
        ------
        Problem
            503 where it is too busy, died twice or cannot reach its storage, 500 where it failed
            or its data are damaged, or what it refused.
        """
        for last in (False, True):
            try:
                outcome = await call()
                break
            except BackPressureError:
                raise too_busy("all models are at work; try again", _RETRY_AFTER_S) from None
            except _DIED as error:
                if last:
                    raise Problem(
                        503,
                        "the process at work on this ended, twice; try again",
                        {"Retry-After": "2"},
                        "died",
                    ) from error
                self.metrics.retries.inc()
        if isinstance(outcome, Refusal):
            if outcome.trouble is None:
                raise Problem(outcome.status, outcome.detail)
            self.metrics.storage_errors.labels(outcome.trouble).inc()
            wait = {"Retry-After": str(_STORAGE_RETRY_AFTER_S)} if outcome.status == 503 else {}
            raise Problem(outcome.status, outcome.detail, wait)
        return outcome

    async def analyze(self, micrograph: Micrograph) -> AnalysisResult:
        """A micrograph's crystals."""

        async def both() -> AnalysisResult:
            # The picture's crops go from one to the other without passing through here.
            found = self.segmenter.segment.remote(micrograph)
            analyzed: AnalysisResult = await self.classifier.name.remote(found)
            return analyzed

        self.metrics.queue.inc()
        try:
            analyzed: AnalysisResult = await self.ask(both)
        finally:
            self.metrics.queue.dec()
        for stage, effort in analyzed.efforts.items():
            self.note(stage, effort)
        for shape, crystals in Counter(one.shape for one in analyzed.crystals).items():
            self.metrics.crystals.labels(shape).inc(crystals)
        return analyzed

    def note(self, stage: str, effort: StageTiming) -> None:
        """Count what a stage took."""
        self.metrics.stage_seconds.labels(stage).observe(effort.seconds)
        self.metrics.batch_size.labels(stage).observe(effort.batch)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a stage done here."""
        started = perf_counter()
        try:
            yield
        finally:
            self.metrics.stage_seconds.labels(name).observe(perf_counter() - started)

    @asynccontextmanager
    async def time_limit(self) -> AsyncIterator[None]:
        """End what takes longer than a request may."""
        seconds = self.settings.seconds
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise Problem(
                503,
                f"it took over {seconds:g} s; send a smaller picture or try again",
                {"Retry-After": "5"},
                "time",
            ) from None
