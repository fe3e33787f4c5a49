"""Calls from the HTTP application to the other deployments: limited, and retried once."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request
from ray.serve.exceptions import BackPressureError

from mcn.micrograph import Micrograph
from serve.deployments.messages import REPLICA_DIED, AnalysisResult, Refusal, StageTiming
from serve.http.errors import Problem, too_busy
from serve.http.uploads import BodyRoom, UploadedFile, read_files
from serve.metrics import ServeMetrics
from serve.settings import ReplicaPlan, Settings

_RETRY_AFTER_S: Final = 1
_STORAGE_RETRY_AFTER_S: Final = 10

MOST_LARGE: Final = 2
"""Pictures of jobs that an ingress replica decodes at once."""

RequestedSegmenter = Annotated[
    str | None,
    Query(max_length=200, description="Required segmenter: its name, with or without @hash."),
]


@dataclass
class ConcurrencyLimit:
    """Counts the requests in progress and refuses those above a limit.

    Parameters
    ----------
    limit : int
        Requests above it are refused.
    active : int
        Requests in progress.
    mean_s : float
        Moving average of a request's duration in seconds, for the header Retry-After.
    """

    limit: int
    active: int = 0
    mean_s: float = 1.0

    def check(self) -> None:
        """Raise a `Problem`, 503, if the limit is reached."""
        if self.active >= self.limit:
            wait = max(_RETRY_AFTER_S, math.ceil(self.mean_s))
            raise too_busy(f"{self.active} requests are in progress; try again in {wait} s", wait)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count one request while the block runs.

        Raises
        ------
        Problem
            503 if the limit is reached.
        """
        self.check()
        self.active += 1
        started = perf_counter()
        try:
            yield
        finally:
            self.active -= 1
            self.mean_s += 0.1 * (perf_counter() - started - self.mean_s)


@dataclass(frozen=True)
class Services:
    """The other deployments, as the routes use them.

    Parameters
    ----------
    segmenter, classifier, reader, jobs : DeploymentHandle
        The same for both models if they share a process.
    settings : Settings
    plan : ReplicaPlan
    metrics : ServeMetrics
    analyses, crops, large : ConcurrencyLimit
        Of requests with whole pictures, with crops, and with pictures of jobs.
    bodies : BodyRoom
        Of bodies that are being received.
    """

    segmenter: Any
    classifier: Any
    reader: Any
    jobs: Any
    settings: Settings
    plan: ReplicaPlan
    metrics: ServeMetrics
    analyses: ConcurrencyLimit
    crops: ConcurrencyLimit
    large: ConcurrencyLimit
    bodies: BodyRoom

    async def receive(
        self,
        request: Request,
        field: str,
        limit: ConcurrencyLimit,
        max_files: int = 1,
        max_bytes: int | None = None,
    ) -> tuple[list[UploadedFile], dict[str, str]]:
        """Read a request's files and form fields; see `read_files`.

        A request whose limit is reached is refused unread. It takes its place (`admit`) only
        when its body is there, so that a slow sender keeps no other request out.
        """
        limit.check()
        settings = self.settings
        with self.bodies.enter(request.state.token) as add:
            return await read_files(
                request,
                field,
                max_files,
                max_bytes or settings.limits.max_bytes,
                settings.upload_seconds,
                add,
            )

    @asynccontextmanager
    async def admit(self, limit: ConcurrencyLimit) -> AsyncIterator[None]:
        """Run the block as one of the requests of a limit, within the time limit."""
        with limit.enter():
            async with self.time_limit():
                yield

    @asynccontextmanager
    async def time_limit(self) -> AsyncIterator[None]:
        """Cancel the block after the longest time for a request, and raise a `Problem`."""
        seconds = self.settings.seconds
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise Problem(
                503,
                f"the request took over {seconds:g} s; send a smaller picture or try again",
                {"Retry-After": "5"},
                "time",
            ) from None

    async def call(self, method: Callable[[], Awaitable[Any]]) -> Any:
        """Call a deployment; if its replica dies, call once more.

        Parameters
        ----------
        method : callable
            Starts the call and returns its awaitable result.

        Raises
        ------
        Problem
            503 if the deployment is too busy, died twice or cannot reach its storage; 500 if it
            failed or its data are damaged; else the status of its `Refusal`.
        """
        for is_retry in (False, True):
            try:
                result = await method()
                break
            except BackPressureError:
                raise too_busy("all models are busy; try again", _RETRY_AFTER_S) from None
            except REPLICA_DIED as error:
                if is_retry:
                    raise Problem(
                        503,
                        "the worker process died twice during this request; try again",
                        {"Retry-After": "2"},
                        "died",
                    ) from error
                self.metrics.retries.inc()
        if isinstance(result, Refusal):
            raise self._problem(result)
        return result

    def _problem(self, refusal: Refusal) -> Problem:
        if refusal.trouble is None:
            wait = {"Retry-After": "5"} if refusal.status in (429, 503) else {}
            return Problem(refusal.status, refusal.detail, wait, names_files=True)
        self.metrics.storage_errors.labels(refusal.trouble).inc()
        headers = {"Retry-After": str(_STORAGE_RETRY_AFTER_S)} if refusal.status == 503 else {}
        return Problem(refusal.status, refusal.detail, headers, names_files=True)

    async def check_segmenter(self, name: str | None) -> None:
        """Raise a `Problem` if a request names another segmenter than the one in use."""
        if name is not None:
            async with self.time_limit():
                used = (await self.call(self.segmenter.about_segmenter.remote)).name
            base = used.partition("@")[0]
            if name not in (used, base, base.partition("+")[0]):
                raise Problem(422, f"model: {name!r} is not loaded; {used} is")

    async def analyze(self, micrograph: Micrograph) -> AnalysisResult:
        """Segment and classify a micrograph."""

        async def segment_and_classify() -> AnalysisResult:
            if self.settings.one_process:
                analysis: AnalysisResult = await self.segmenter.analyze.remote(micrograph)
                return analysis
            # The crops go from one deployment to the other without passing through here.
            segmented = self.segmenter.segment.remote(micrograph)
            result: AnalysisResult = await self.classifier.classify_segmented.remote(segmented)
            return result

        self.metrics.queue.inc()
        try:
            result: AnalysisResult = await self.call(segment_and_classify)
        finally:
            self.metrics.queue.dec()
        for stage, timing in result.timings.items():
            self.observe(stage, timing)
        for shape, count in Counter(result.crystals["shape"].to_pylist()).items():
            self.metrics.crystals.labels(shape).inc(count)
        return result

    def observe(self, stage: str, timing: StageTiming) -> None:
        """Add a stage's duration and batch size to the metrics."""
        self.metrics.stage_seconds.labels(stage).observe(timing.seconds)
        self.metrics.batch_size.labels(stage).observe(timing.batch)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the duration of the block to the metrics of a stage."""
        started = perf_counter()
        try:
            yield
        finally:
            self.metrics.stage_seconds.labels(name).observe(perf_counter() - started)


def body_room(settings: Settings) -> BodyRoom:
    """The room for bodies that settings give; without tokens, everyone is one sender."""
    most = int(settings.bodies_megabytes * 2**20)
    of_a_token = int(settings.bodies_megabytes_of_a_token * 2**20)
    return BodyRoom(settings.bodies, most, most if settings.insecure else of_a_token)


def current_services(request: Request) -> Services:
    """The services of the application that handles a request."""
    services: Services = request.app.state.services
    return services


CurrentServices = Annotated[Services, Depends(current_services)]
