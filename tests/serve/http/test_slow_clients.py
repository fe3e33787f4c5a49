"""Clients that send slowly hold nothing that others need."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from serve.http.application import create_app
from serve.http.auth import AccessControl
from serve.http.dispatch import Services
from serve.http.errors import Problem
from serve.http.uploads import BodyRoom
from serve.settings import Settings
from serve.tokens import add_token

from ...waiting import DEADLINE_S, wait_until
from ..local import local_server, local_services

PICTURE = {"Content-Type": "image/png"}


@contextmanager
def serving(services: Services) -> Iterator[tuple[str, int]]:
    app = create_app(services, AccessControl(services.settings))
    with local_server(app) as address:
        yield address


@contextmanager
def trickling(address: tuple[str, int], count: int, token: str = "", body: bytes = b"\x89") -> (
    Iterator[list[socket.socket]]
):  # fmt: skip
    """Clients that have sent headers and the beginning of a body, and no more."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"POST /v1/analyze HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}"
        "Content-Type: image/png\r\nContent-Length: 1000000\r\n\r\n"
    )
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(address, timeout=DEADLINE_S))
            for _ in range(count)
        ]
        for client in clients:
            client.sendall(head.encode() + body)
        yield clients


def post(address: tuple[str, int], token: str = "") -> httpx.Response:
    """Post a body that is no picture: a 422 shows that it was read and looked at."""
    headers = PICTURE | ({"Authorization": f"Bearer {token}"} if token else {})
    url = f"http://{address[0]}:{address[1]}/v1/analyze"
    return httpx.post(url, content=b"no picture", headers=headers, timeout=DEADLINE_S)


def test_unfinished_uploads_take_no_place() -> None:
    services = local_services("test-slow")
    assert services.analyses.limit == 1
    with serving(services) as address, trickling(address, 40):
        wait_until(lambda: services.bodies.bodies == 40, "all have begun")
        assert services.analyses.active == 0
        for _ in range(3):
            assert post(address).status_code == 422
    wait_until(lambda: services.bodies.bodies == 0, "all are gone")


def test_a_full_endpoint_refuses_requests_unread() -> None:
    services = local_services("test-slow")
    with serving(services) as address, services.analyses.enter():
        assert post(address).status_code == 503
        with trickling(address, 1) as (client,):
            assert client.recv(100).startswith(b"HTTP/1.1 503")


def test_bodies_at_once_are_bounded_in_all() -> None:
    services = local_services("test-slow", settings=Settings(insecure=True, bodies=5))
    with serving(services) as address, trickling(address, 5):
        wait_until(lambda: services.bodies.bodies == 5, "all have begun")
        refused = post(address)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1


def test_requests_at_once_and_bytes_are_bounded_by_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    slow, other = (add_token(file, name, ["analyze"]) for name in ("slow", "other"))
    settings = Settings(
        tokens=str(file),
        requests_at_once=6,
        bodies_megabytes=1,
        bodies_megabytes_of_a_token=0.25,
    )
    services = local_services("test-slow", settings=settings)
    with serving(services) as address:
        with trickling(address, 6, slow):
            wait_until(lambda: services.bodies.bodies == 6, "all have begun")
            refused = post(address, slow)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert post(address, other).status_code == 422
        wait_until(lambda: services.bodies.bodies == 0, "all are gone")
        with trickling(address, 1, slow, b"x" * 300_000) as (client,):
            assert client.recv(100).startswith(b"HTTP/1.1 503")
        assert post(address, other).status_code == 422
        assert post(address, slow).status_code == 422, "an ended request counts no longer"


def test_a_token_may_have_its_own_number_of_requests_at_once(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    token = add_token(file, "one", ["analyze"])
    file.write_text(file.read_text().replace('"name"', '"requests_at_once": 1, "name"'))
    services = local_services("test-slow", settings=Settings(tokens=str(file)))
    with serving(services) as address, trickling(address, 1, token):
        wait_until(lambda: services.bodies.bodies == 1, "it has begun")
        assert post(address, token).status_code == 429


def test_a_room_forgets_bodies_that_left() -> None:
    room = BodyRoom(1, 100, 100)
    with room.enter("a") as add:
        add(60)
        with pytest.raises(Problem, match="being received"), room.enter("b"):
            pass
        with pytest.raises(Problem, match="fill the memory"):
            add(60)
    with replace(room).enter("b") as add:
        add(100)
    assert (room.bodies, dict(room.bytes_of)) == (0, {})
