"""Problems describe errors in the format of RFC 9457."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from serve.deployments.messages import Refusal
from serve.http.errors import (
    DOCUMENTED,
    MEDIA_TYPE,
    Problem,
    ProblemDetails,
    as_dict,
    documented,
    too_busy,
    without_folders,
)
from serve.settings import Settings
from serve.tokens import add_token

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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://cores/2026/catalog: the store does not respond", "catalog: the store does not"),
        ("/data/My Cores/well=A/depth=1/a.tif: the picture is gone", "a.tif: the picture is gone"),
        ("/data/lab,old;1/run:2/a.tif: gone; see /data/b/c", "a.tif: gone; see c"),
        ("[Errno 2] No such file: '/data/a.tif'", "[Errno 2] No such file: 'a.tif'"),
        ("file:///data/catalog: the catalogue is gone", "catalog: the catalogue is gone"),
        ("no well 'B'; /v1/wells lists the wells", "no well 'B'; /v1/wells lists the wells"),
        ("give a step in m/s or 1/2", "give a step in m/s or 1/2"),
    ],
)
def test_folders_are_removed_and_routes_stay(text: str, shown: str) -> None:
    assert without_folders(text).startswith(shown)


def test_only_operators_see_where_the_server_keeps_its_files(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    add_token(file, "other", ["read"])
    uri = "s3://secret-bucket/cores/a.tif"
    gone = Refusal(503, f"{uri}: the store does not respond; try again", "unreachable")
    rows = [{"uri": uri, "error": f"{uri}: it is damaged"}]
    reader = SimpleNamespace(tile=lambda *_: rows, image=lambda *_: gone)
    services = local_services("test-paths", reader=reader, settings=Settings(tokens=str(file)))
    for scopes, sees in ((["read"], False), (["read", "admin"], True)):
        token = add_token(file, "-".join(scopes), scopes)
        headers = {"Authorization": f"Bearer {token}"}
        client = local_client(services)
        for resource in ("", "/image"):
            response = client.get(f"/v1/tiles/{'0' * 32}{resource}", headers=headers)
            assert "a.tif" in response.text
            assert ("secret-bucket" in response.text) == sees, response.text
        rows[0] |= {"uri": uri, "error": f"{uri}: it is damaged"}
