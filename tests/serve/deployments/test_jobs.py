"""Jobs report progress, are cancelled, forgotten and bounded, and outlive a model's replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from mcn.crystals import classified_schema
from mcn.micrograph import Micrograph
from mcn.taxonomy import SHAPES
from serve.deployments import jobs as jobs_module
from serve.deployments.jobs import JobsDeployment
from serve.deployments.messages import AnalysisResult, JobState, PictureFacts, Refusal
from serve.settings import JobSettings

from ..local import LocalHandle

PICTURE = Micrograph(np.full((600, 1000), 20, np.uint8), 0.5, "manifest", "a.tif")
FACTS = PictureFacts.of("a.tif", PICTURE)
RESULT = AnalysisResult(
    "s@0", "c@0", SHAPES, classified_schema(SHAPES).empty_table(), 0.0, timings={}
)


class ScriptedModels:
    """Segments in steps when it is let; fails as its script says.

    Parameters
    ----------
    *failures : Exception
        Of the first calls, after their first step.
    """

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.go_on = asyncio.Event()
        self.calls, self.ended = 0, 0

    async def segment_in_steps(self, micrograph: Micrograph) -> AsyncGenerator[Any, None]:
        assert micrograph.pixels.shape == (600, 1000)
        self.calls += 1
        try:
            yield 0.5
            if self.failures:
                raise self.failures.pop(0)
            await self.go_on.wait()
            yield 1.0
            yield "segmented"
        finally:
            self.ended += 1

    async def classify_segmented(self, segmented: str) -> AnalysisResult:
        assert segmented == "segmented"
        return RESULT


def deployed(models: ScriptedModels, **settings: Any) -> JobsDeployment:
    return JobsDeployment(JobSettings(**settings), LocalHandle(models), LocalHandle(models))


async def submit(jobs: JobsDeployment, token: str = "lab") -> str:
    state = await jobs.submit(token, FACTS, PICTURE)
    assert isinstance(state, JobState), state
    return state.id


async def until(jobs: JobsDeployment, job: str, is_so: Callable[[JobState], bool]) -> JobState:
    async with asyncio.timeout(60):
        while True:
            state = await jobs.state("lab", job)
            assert isinstance(state, JobState), state
            if is_so(state):
                return state
            await asyncio.sleep(0)


def ended(state: JobState) -> bool:
    return state.status in ("done", "failed", "cancelled")


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_progress_then_the_result() -> None:
    async def scenario() -> None:
        models = ScriptedModels()
        jobs = deployed(models)
        job = await submit(jobs)
        state = await until(jobs, job, lambda state: state.progress > 0)
        assert (state.status, state.problem) == ("running", None)
        assert 0.4 < state.progress < 0.5
        early = await jobs.result("lab", job)
        assert isinstance(early, Refusal)
        assert early == Refusal(409, "the job is running; ask again when it is done")
        models.go_on.set()
        assert (await until(jobs, job, ended)).status == "done"
        assert await jobs.result("lab", job) == (FACTS, RESULT)
        assert await jobs.cancel("lab", job) is None
        assert await jobs.state("lab", job) == await jobs.state("lab", "unknown")

    run(scenario)


def test_another_token_does_not_see_a_job() -> None:
    async def scenario() -> None:
        jobs = deployed(ScriptedModels())
        job = await submit(jobs)
        for method in (jobs.state, jobs.result, jobs.cancel):
            refusal = await method("other", job)
            assert isinstance(refusal, Refusal)
            assert refusal.status == 404
        assert isinstance(await jobs.state("lab", job), JobState)

    run(scenario)


def test_a_cancelled_job_frees_the_model_and_its_turn() -> None:
    async def scenario() -> None:
        models = ScriptedModels()
        jobs = deployed(models)
        first, second, third = [await submit(jobs) for _ in range(3)]
        await until(jobs, first, lambda state: state.progress > 0)
        assert (await until(jobs, second, lambda _: True)).status == "queued"
        for job in (second, first):
            await jobs.cancel("lab", job)
            assert (await until(jobs, job, lambda _: True)).status == "cancelled"
        await until(jobs, third, lambda state: state.progress > 0)
        assert (models.calls, models.ended) == (2, 1)
        models.go_on.set()
        assert (await until(jobs, third, ended)).status == "done"

    run(scenario)


@pytest.mark.parametrize(
    ("failures", "status", "problem"),
    [
        ([RayActorError()], "done", None),
        ([RayActorError(), RayActorError()], "failed", "died twice; send the picture again"),
        ([BackPressureError(0, 0)] * 3, "done", None),
        ([ValueError("secret")], "failed", "internal error; look up job"),
    ],
)
def test_busy_and_dying_replicas(
    failures: list[Exception], status: str, problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "_BUSY_S", 0.0)

    async def scenario() -> None:
        models = ScriptedModels(*failures)
        models.go_on.set()
        jobs = deployed(models)
        job = await submit(jobs)
        state = await until(jobs, job, ended)
        assert state.status == status
        assert (problem is None) == (state.problem is None)
        if problem is not None and state.problem is not None:
            assert problem in state.problem.detail
            assert "secret" not in state.problem.detail
            refusal = await jobs.result("lab", job)
            assert isinstance(refusal, Refusal)
            assert (refusal.status, problem in refusal.detail) == (409, True)

    run(scenario)


def test_limits_of_numbers_pixels_and_time() -> None:
    async def scenario() -> None:
        models = ScriptedModels()
        jobs = deployed(models, most=3, most_of_a_token=2)
        for _ in range(2):
            await submit(jobs)
        refused = await jobs.submit("lab", FACTS, PICTURE)
        assert refused == Refusal(429, "the token has 2 jobs; wait for one, or cancel one")
        await submit(jobs, "other")
        full = await jobs.check("third")
        assert full == Refusal(503, "3 jobs are waiting or running; try again later")

        small = deployed(models, megapixels=0.7, megapixels_of_all=1)
        await submit(small)
        assert isinstance(await small.submit("lab", FACTS, PICTURE), Refusal)

        slow = deployed(ScriptedModels(), minutes=0.001)
        job = await submit(slow)
        state = await until(slow, job, ended)
        assert state.problem == Refusal(
            503, "the job took over 0.001 minutes; send a smaller picture"
        )

    run(scenario)


def test_results_are_forgotten_in_time_and_the_oldest_first() -> None:
    async def scenario() -> None:
        models = ScriptedModels()
        models.go_on.set()
        jobs = deployed(models, most_of_a_token=2)
        ids = []
        for _ in range(4):
            ids.append(await submit(jobs))
            await until(jobs, ids[-1], ended)
        kept = [isinstance(await jobs.state("lab", job), JobState) for job in ids]
        assert kept == [False, False, True, True]

        brief = deployed(models, kept_minutes=0.0001)
        job = await submit(brief)
        async with asyncio.timeout(60):
            while isinstance(await brief.state("lab", job), JobState):
                await asyncio.sleep(0.002)
        refusal = await brief.state("lab", job)
        assert isinstance(refusal, Refusal)
        assert "jobs are forgotten 0.0001 minutes after their end" in refusal.detail

    run(scenario)


def test_a_stop_ends_jobs_that_wait_and_leaves_time_to_fetch_the_one_that_runs() -> None:
    async def scenario() -> None:
        models = ScriptedModels()
        jobs = deployed(models)
        running, waiting = await submit(jobs), await submit(jobs)
        await until(jobs, running, lambda state: state.progress > 0)
        assert await jobs.drain() == 1
        state = await until(jobs, waiting, ended)
        assert (state.status, state.problem and state.problem.status) == ("failed", 503)
        assert await jobs.check("lab") == Refusal(503, "the endpoint is stopping; try again")
        models.go_on.set()
        await until(jobs, running, ended)
        assert await jobs.drain() == 1
        await jobs.result("lab", running)
        assert await jobs.drain() == 0

    run(scenario)
