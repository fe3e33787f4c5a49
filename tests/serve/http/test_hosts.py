"""An endpoint without tokens trusts the name in Host, so a name that it cannot read is refused."""

from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from serve.http.hosts import is_host_valid, named_host

from ..local import local_client, local_services


@pytest.fixture(scope="module")
def client() -> TestClient:
    return local_client(local_services("test-hosts"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000", "LOCALHOST:"])
def test_names_of_this_machine_are_accepted(client: TestClient, host: str) -> None:
    answer = client.get("/v1/session", headers={"Host": host})
    assert answer.status_code == 200, answer.text


def test_the_name_of_another_machine_is_refused(client: TestClient) -> None:
    answer = client.get("/v1/session", headers={"Host": "evil.example"})
    assert answer.status_code == 403


UNREADABLE = (
    *("evil.example:x", "127.0.0.1@evil", "evil@127.0.0.1", "127.0.0.1:99999", "127.0.0.1:1:2"),
    *("", "a/b", "a b", "[::1", "[1:2]", "::1", "127.0.0.1, evil", "127.0.0.1\t"),
)


@pytest.mark.parametrize("path", ["/v1/session", "/healthz", "/"])
@pytest.mark.parametrize("host", UNREADABLE)
def test_a_name_that_cannot_be_read_is_refused(client: TestClient, path: str, host: str) -> None:
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"].startswith("the header Host is missing or cannot be read")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_only_the_oldest_http_may_name_no_host() -> None:
    def scope(version: str, *hosts: str) -> dict[str, Any]:
        headers = [(b"host", host.encode()) for host in hosts]
        return {"type": "http", "http_version": version, "headers": headers}

    assert not is_host_valid(scope("1.1"))
    assert not is_host_valid(scope("1.1", "127.0.0.1", "127.0.0.1"))
    assert is_host_valid(scope("1.1", "127.0.0.1"))
    assert is_host_valid(scope("1.0"))
    assert not is_host_valid(scope("1.0", "a b"))
    assert named_host(Headers({})) is None, "and it is not this machine then"
