"""The application as a whole: its documentation, and unknown paths."""

import re

import pytest
from starlette.testclient import TestClient

from serve.http.errors import MEDIA_TYPE

from ..local import local_client, local_services


@pytest.fixture(scope="module")
def client() -> TestClient:
    return local_client(local_services("test-application"))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/v1/analyze", 405), ("DELETE", "/healthz", 405)],
)
def test_unknown_paths_and_methods_are_problems(
    client: TestClient, method: str, path: str, status: int
) -> None:
    response = client.request(method, path)
    assert response.status_code == response.json()["status"] == status
    assert response.headers["content-type"] == MEDIA_TYPE
    assert response.json()["request_id"]


def test_every_operation_documents_its_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "ProblemDetails" in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            problems = [r for status, r in operation["responses"].items() if status >= "400"]
            assert path == "/healthz" or problems, path
            assert all(list(problem["content"]) == [MEDIA_TYPE] for problem in problems), path


def test_the_documentation_page_is_self_hosted(client: TestClient) -> None:
    page = client.get("/docs")
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page.text)
    for name in re.findall(r"/docs/static/[\w.-]+", page.text):
        assert client.get(name).status_code == 200, name


@pytest.mark.parametrize("host", ["evil.example", "localhost:8000"])
def test_a_redirect_names_no_host(client: TestClient, host: str) -> None:
    headers = {"Host": host, "X-Forwarded-Host": "evil.example"}
    for path in ("/v1/models/", "/healthz/?a=1", "//evil.example/healthz/", "/docs/"):
        response = client.get(path, headers=headers)
        location = response.headers.get("location", "/")
        assert re.match(r"/(?![/\\\\])", location + "x"), location
        assert "evil" not in location.partition("/healthz")[0]
    assert client.get("/healthz/?a=1", headers=headers).headers["location"] == "/healthz?a=1"
