"""Calls of other deployments are limited in number and time, and repeated once."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from mcn.crystals import classified_schema
from mcn.taxonomy import SHAPES
from serve.deployments.messages import AnalysisResult, Refusal
from serve.http.dispatch import ConcurrencyLimit, Services
from serve.http.errors import Problem
from serve.settings import Settings

from ..local import local_client, local_services


@pytest.fixture
def services() -> Services:
    about = SimpleNamespace(about_segmenter=lambda: SimpleNamespace(name="compact@0123456789ab"))
    return local_services("test-dispatch", segmenter=about)


def scripted(*answers: Any) -> Callable[[], Awaitable[Any]]:
    """A method that returns the answers in order; exceptions are raised."""
    remaining = iter(answers)

    async def method() -> Any:
        answer = next(remaining)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return method


def call(services: Services, *answers: Any) -> Any:
    return asyncio.run(services.call(scripted(*answers)))


def value_of(metric: Any) -> float:
    samples = [sample for family in metric.collect() for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


def test_a_full_limit_refuses_requests() -> None:
    limit = ConcurrencyLimit(1)
    with (
        limit.enter(),
        pytest.raises(Problem, match="1 requests are in progress") as refused,
        limit.enter(),
    ):
        pass
    assert (refused.value.status, refused.value.reason) == (503, "overload")
    assert int(refused.value.headers["Retry-After"]) >= 1
    assert limit.active == 0


def test_a_limit_has_room_again_after_an_error() -> None:
    limit = ConcurrencyLimit(1)
    with pytest.raises(KeyError), limit.enter():
        raise KeyError
    with limit.enter():
        assert limit.active == 1


def test_a_call_is_retried_once_after_its_replica_died(services: Services) -> None:
    before = value_of(services.metrics.retries)
    assert call(services, RayActorError(), "answer") == "answer"
    assert value_of(services.metrics.retries) == before + 1
    with pytest.raises(Problem, match="died twice") as error:
        call(services, RayActorError(), RayActorError(), "never")
    assert (error.value.status, error.value.reason) == (503, "died")


def test_calls_of_busy_models_are_not_retried(services: Services) -> None:
    busy = BackPressureError(num_queued_requests=9, max_queued_requests=9)
    with pytest.raises(Problem, match="all models are busy") as error:
        call(services, busy, "never")
    assert (error.value.status, error.value.reason) == (503, "overload")


def test_other_errors_are_not_hidden(services: Services) -> None:
    with pytest.raises(KeyError):
        call(services, KeyError("a mistake of ours"), "never")


@pytest.mark.parametrize(
    ("refusal", "counted"),
    [
        (Refusal(422, "depth: no number"), 0),
        (Refusal(503, "s3://core: cannot be reached", "unreachable"), 1),
        (Refusal(500, "a.parquet: it is damaged", "damaged"), 1),
    ],
)
def test_a_refusal_is_a_problem_and_storage_errors_are_counted(
    services: Services, refusal: Refusal, counted: int
) -> None:
    before = value_of(services.metrics.storage_errors)
    with pytest.raises(Problem, match=refusal.detail) as error:
        call(services, refusal)
    assert error.value.status == refusal.status
    assert ("Retry-After" in error.value.headers) == (refusal.status == 503)
    assert value_of(services.metrics.storage_errors) == before + counted


def test_a_slow_request_times_out_and_is_no_longer_active() -> None:
    services = local_services("test-dispatch", settings=Settings(insecure=True, seconds=0.01))

    async def wait_for_ever() -> None:
        async with services.admit(services.analyses):
            await asyncio.Event().wait()

    with pytest.raises(Problem, match=r"took over 0\.01 s") as error:
        asyncio.run(wait_for_ever())
    assert (error.value.status, error.value.reason) == (503, "time")
    assert services.analyses.active == 0


@pytest.mark.parametrize("name", [None, "compact", "compact@0123456789ab"])
def test_a_request_may_name_the_segmenter_in_use(services: Services, name: str | None) -> None:
    asyncio.run(services.check_segmenter(name))


@pytest.mark.parametrize("name", ["vit_b", "compact@000000000000", "compact@", ""])
def test_other_segmenters_are_refused(services: Services, name: str) -> None:
    with pytest.raises(Problem, match="is not loaded; compact@0123456789ab is") as error:
        asyncio.run(services.check_segmenter(name))
    assert error.value.status == 422


def test_models_of_one_process_analyse_at_once_and_further_pages_are_said() -> None:
    crystals = classified_schema(SHAPES).empty_table()
    result = AnalysisResult("compact@1", "nsr@1", SHAPES, crystals, 0.0, {})
    services = local_services(
        "test-dispatch",
        segmenter=SimpleNamespace(analyze=lambda micrograph: result),
        settings=Settings(insecure=True, one_process=True),
    )
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((2, 40, 40), np.uint8), photometric="minisblack")
    client, headers = local_client(services), {"Content-Type": "image/tiff"}
    for accepted in ("application/json", "image/png"):
        response = client.post(
            "/v1/analyze", content=file.getvalue(), headers=headers | {"Accept": accepted}
        )
        assert response.status_code == 200, response.text
        if accepted == "application/json":
            assert response.json()["pages"] == 2
        else:
            assert "only page 1 of 2" in response.headers["x-note"]
