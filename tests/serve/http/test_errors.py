"""Problems describe errors in the format of RFC 9457."""

import pytest
from starlette.testclient import TestClient

from serve.http.errors import (
    DOCUMENTED,
    MEDIA_TYPE,
    Problem,
    ProblemDetails,
    as_dict,
    documented,
    too_busy,
)

from ..local import local_client, local_services


@pytest.mark.parametrize("status", DOCUMENTED)
def test_a_problem_has_its_status_in_words(status: int) -> None:
    problem = as_dict(status, "why", "id-1")
    assert ProblemDetails.model_validate(problem).model_dump() == problem
    assert problem["title"]
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert documented(status)[status]["description"] == DOCUMENTED[status]


def test_a_status_that_is_not_described_is_not_documented() -> None:
    with pytest.raises(KeyError):
        documented(418)


def test_a_problem_has_additional_headers() -> None:
    first, second = too_busy("full", 3), Problem(503, "full")
    assert first.headers == {"Retry-After": "3"}
    assert (second.headers, second.reason, str(second)) == ({}, None, "full")


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/v1/wells/A/crystals?limit=0", ["limit"]),
        ("/v1/wells/A/crystals?limit=many&depth=" + "9" * 999, ["limit", "depth"]),
    ],
)
def test_all_invalid_parameters_are_named(path: str, parameters: list[str]) -> None:
    client: TestClient = local_client(local_services("test-errors"))
    response = client.get(path)
    assert response.status_code == 422
    assert response.headers["content-type"] == MEDIA_TYPE
    detail = response.json()["detail"]
    assert {part.partition(":")[0] for part in detail.split("; ")} == set(parameters)
