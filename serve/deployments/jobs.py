"""Jobs: pictures that are too large for one request, analysed one after the other.

The deployment has a single replica, so that all replicas of the ingress see the same jobs.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from ray.serve.exceptions import BackPressureError

from mcn.micrograph import Limits, Micrograph
from serve.deployments.catalog_reader import CatalogReader
from serve.deployments.messages import (
    REPLICA_DIED,
    AnalysisResult,
    JobState,
    JobStatus,
    PictureFacts,
    Refusal,
    SegmentationResult,
)
from serve.settings import JobSettings

logger = logging.getLogger("serve")

_BUSY_S: Final = 1.0
_FETCH_S: Final = 10.0
"""Time after its end in which a job's sender is expected to fetch the result."""
_CLASSIFYING: Final = 0.95
"""Progress when only the classification is left."""


@dataclass(eq=False)
class _Job:
    """A job, and what it needs or has made."""

    id: str
    token: str
    picture: PictureFacts
    micrograph: Micrograph | None
    status: JobStatus = "queued"
    progress: float = 0.0
    problem: Refusal | None = None
    result: AnalysisResult | None = None
    task: asyncio.Task[None] | None = None
    ended_at: float = field(default=float("inf"))
    fetched: bool = False

    @property
    def megapixels(self) -> float:
        """Size of its picture."""
        return self.picture.width * self.picture.height / 1e6

    @property
    def state(self) -> JobState:
        """How far it is, for its sender."""
        return JobState(self.id, self.picture, self.status, self.progress, self.problem)


class JobsDeployment:
    """Keeps jobs and runs them; a job is visible to the token that sent it, and to no other.

    Parameters
    ----------
    settings : JobSettings
    segmenter, classifier : DeploymentHandle
        The same if they share a process.
    """

    def __init__(self, settings: JobSettings, segmenter: Any, classifier: Any) -> None:
        self._settings = settings
        self._segmenter, self._classifier = segmenter, classifier
        self._jobs: dict[str, _Job] = {}
        self._turns = asyncio.Semaphore(settings.running)
        self._is_stopping = False

    async def check(self, token: str, megapixels: float = 0.0) -> Refusal | None:
        """A refusal if a token cannot start a job now, with a picture of this size."""
        settings, active = self._settings, self._active()
        if self._is_stopping:
            return Refusal(503, "the endpoint is stopping; try again")
        if sum(job.token == token for job in active) >= settings.most_of_a_token:
            return Refusal(
                429, f"the token has {settings.most_of_a_token} jobs; wait for one, or cancel one"
            )
        total = sum(job.megapixels for job in active) + megapixels
        if len(active) >= settings.most or total > settings.megapixels_of_all:
            return Refusal(503, f"{len(active)} jobs are waiting or running; try again later")
        return None

    async def submit(
        self, token: str, picture: PictureFacts, micrograph: Micrograph
    ) -> JobState | Refusal:
        """Start a job as soon as those before it have ended."""
        job = _Job(secrets.token_urlsafe(16), token, picture, micrograph)
        if refusal := await self.check(token, job.megapixels):
            return refusal
        self._jobs[job.id] = job
        job.task = asyncio.get_running_loop().create_task(self._run(job))
        return job.state

    async def state(self, token: str, job_id: str) -> JobState | Refusal:
        """How far a job of the token is."""
        job = self._find(token, job_id)
        return job if isinstance(job, Refusal) else job.state

    async def result(
        self, token: str, job_id: str
    ) -> tuple[PictureFacts, AnalysisResult] | Refusal:
        """The crystals that a job has found."""
        job = self._find(token, job_id)
        if isinstance(job, Refusal):
            return job
        if job.result is None:
            if job.problem:
                return Refusal(409, f"the job has failed: {job.problem.detail}")
            advice = "send the picture again" if job.task is None else "ask again when it is done"
            return Refusal(409, f"the job is {job.status}; {advice}")
        job.fetched = True
        return job.picture, job.result

    async def cancel(self, token: str, job_id: str) -> Refusal | None:
        """End a job that waits or runs; forget one that has ended."""
        job = self._find(token, job_id)
        if isinstance(job, Refusal):
            return job
        if job.task is None:
            self._forget(job)
        else:
            await self._cancel(job)
        return None

    async def drain(self) -> int:
        """Start no further job; the number of jobs that run or whose result is being fetched."""
        if not self._is_stopping:
            self._is_stopping = True
            for job in [job for job in self._active() if job.status == "queued"]:
                await self._cancel(job)
                self._fail(job, 503, "the endpoint is stopping; send the picture again")
        fresh = monotonic() - _FETCH_S
        unfetched = [job for job in self._jobs.values() if job.result and not job.fetched]
        return len(self._active()) + sum(fresh < job.ended_at for job in unfetched)

    async def _run(self, job: _Job) -> None:
        minutes = self._settings.minutes
        try:
            async with self._turns:
                job.status = "running"
                async with asyncio.timeout(60 * minutes):
                    job.result = await self._analyze(job)
            self._end(job, "done")
        except asyncio.CancelledError:
            self._end(job, "cancelled")
        except TimeoutError:
            self._fail(job, 503, f"the job took over {minutes:g} minutes; send a smaller picture")
        except REPLICA_DIED:
            self._fail(job, 503, "the model's process died twice; send the picture again")
        except Exception:
            logger.exception("job %s failed", job.id)
            self._fail(job, 500, f"internal error; look up job {job.id} in the log")

    async def _analyze(self, job: _Job) -> AnalysisResult:
        """Segment and classify; once more if a replica dies, and later if all are busy."""
        died = False
        while True:
            try:
                segmented = await self._segment(job)
                result: AnalysisResult = await self._classifier.classify_segmented.remote(segmented)
                return result
            except BackPressureError:
                await asyncio.sleep(_BUSY_S)
            except REPLICA_DIED:
                if died:
                    raise
                died = True
                logger.warning("job %s: the model's process died; the job starts again", job.id)

    async def _segment(self, job: _Job) -> SegmentationResult:
        stream = self._segmenter.options(stream=True).segment_in_steps.remote(job.micrograph)
        try:
            async for step in stream:
                if not isinstance(step, float):
                    result: SegmentationResult = step
                    return result
                # It stands still while a job is repeated.
                job.progress = max(job.progress, _CLASSIFYING * step)
        except asyncio.CancelledError:
            stream.cancel()
            raise
        raise RuntimeError("the segmenter ended without a result")

    async def _cancel(self, job: _Job) -> None:
        task = job.task
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        if job.task is not None:  # It had not begun, so it could not end itself.
            self._end(job, "cancelled")

    def _fail(self, job: _Job, status: int, detail: str) -> None:
        job.problem = Refusal(status, detail)
        self._end(job, "failed")

    def _end(self, job: _Job, status: JobStatus) -> None:
        job.status, job.ended_at, job.micrograph, job.task = status, monotonic(), None, None
        if status == "done":
            job.progress = 1.0
        self._forget_oldest(job.token)
        asyncio.get_running_loop().call_later(60 * self._settings.kept_minutes, self._forget, job)

    def _active(self) -> list[_Job]:
        return [job for job in self._jobs.values() if job.task is not None]

    def _find(self, token: str, job_id: str) -> _Job | Refusal:
        job = self._jobs.get(job_id)
        if job is None or job.token != token:
            minutes = self._settings.kept_minutes
            return Refusal(
                404,
                f"no such job; jobs are forgotten {minutes:g} minutes after their end, and when "
                "the endpoint restarts",
            )
        return job

    def _forget_oldest(self, token: str) -> None:
        """Forget the oldest of too many jobs that have ended: of all tokens, and of this one."""
        ended = sorted(
            (job for job in self._jobs.values() if job.task is None), key=lambda job: job.ended_at
        )
        own = [job for job in ended if job.token == token]
        kept, kept_own = self._settings.most, self._settings.most_of_a_token
        for job in (*ended[: max(0, len(ended) - kept)], *own[: max(0, len(own) - kept_own)]):
            self._forget(job)

    def _forget(self, job: _Job) -> None:
        self._jobs.pop(job.id, None)


class CatalogAndJobsDeployment(CatalogReader):
    """The catalogue and the jobs in one process, for a cluster of one machine.

    Parameters
    ----------
    uri, refresh_s, limits
        See `CatalogReader`.
    settings, segmenter, classifier
        See `JobsDeployment`.
    """

    def __init__(
        self,
        uri: str | None,
        refresh_s: float,
        limits: Limits,
        settings: JobSettings,
        segmenter: Any,
        classifier: Any,
    ) -> None:
        super().__init__(uri, refresh_s, limits)
        jobs = JobsDeployment(settings, segmenter, classifier)
        self.check, self.submit, self.state = jobs.check, jobs.submit, jobs.state
        self.result, self.cancel, self.drain = jobs.result, jobs.cancel, jobs.drain
