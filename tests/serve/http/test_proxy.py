"""Serve's proxy: bounded headers, one request id, problems for a dead ingress, and draining."""

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from serve.http import proxy
from serve.http.proxy import DRAIN_PATH, BoundedProtocol, ProxyMiddleware

from ...waiting import DEADLINE_S, wait_until
from ..local import local_server

LARGE = 30_000_000
GOING_ON = threading.Event()
BEGUN = threading.Event()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for Serve and the ingress behind it."""
    path = scope["path"]
    if path == "/dead":  # Serve forwards nothing.
        return
    if path == "/broken":
        raise RuntimeError("an actor is gone")
    if path in ("/slow", "/readyz"):
        import asyncio

        BEGUN.set()
        await asyncio.to_thread(GOING_ON.wait, DEADLINE_S)
    if path == "/large":
        start = {"status": 200, "headers": [(b"x-content-type-options", b"nosniff")]}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": bytes(LARGE)})
        return
    status = int(path[1:]) if path[1:].isdigit() else 200
    own = [] if path[1:].isdigit() else [(b"x-content-type-options", b"nosniff")]
    headers = [*own, (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    body = json.dumps([x.decode() for pair in scope["headers"] for x in pair]).encode()
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    return tmp_path / "draining"


@pytest.fixture
def address(flag: Path) -> Iterator[tuple[str, int]]:
    with local_server(ProxyMiddleware(application, flag)) as address:
        yield address


def get(address: tuple[str, int], path: str, **headers: str) -> httpx.Response:
    url = f"http://{address[0]}:{address[1]}{path}"
    return httpx.get(url, headers=headers, timeout=DEADLINE_S)


def answer_to(address: tuple[str, int], *parts: bytes) -> bytes:
    """What the server sends until it closes the connection."""
    with socket.create_connection(address, timeout=DEADLINE_S) as connection:
        for part in parts:
            connection.sendall(part)
        chunks = []
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks)


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000],  # that never end
        [b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"A: " + b"a" * 500 + b"\r\n"] * 40, b"\r\n"],
        [b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
    ],
)
def test_headers_over_16_kib_are_refused(address: tuple[str, int], parts: list[bytes]) -> None:
    head, _, body = answer_to(address, *parts).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 431


def test_a_request_without_a_path_is_not_one_of_a_starting_endpoint(
    address: tuple[str, int],
) -> None:
    request = b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    head, _, body = answer_to(address, request).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"retry-after" not in head
    assert json.loads(body)["detail"] == "OPTIONS *: not a path; send one such as /healthz"


def test_headers_of_a_large_body_count_without_it(address: tuple[str, int]) -> None:
    body = b"x" * 60_000
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n"
    assert answer_to(address, head + body).startswith(b"HTTP/1.1 200")


def test_headers_must_arrive_in_time(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "_HEADER_S", 0.2)
    assert answer_to(address, b"GET / HTTP/1.1\r\nHost: ").startswith(b"HTTP/1.1 408")
    assert answer_to(address) == b""  # A connection without a request is closed.


def test_a_sender_whose_request_was_answered_cannot_keep_the_connection(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "_LINGER_S", 0.2)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\nbegun"
    assert answer_to(address, head).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("part", [0, 100_000])
def test_a_client_that_takes_no_response_is_disconnected(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(proxy, "_READ_S", 0.3)
    monkeypatch.setattr(proxy, "_READ_BYTES", 10_000_000)
    lost = threading.Event()

    def connection_lost(protocol: BoundedProtocol, error: Exception | None) -> None:
        lost.set()
        after(protocol, error)

    after = BoundedProtocol.connection_lost
    monkeypatch.setattr(BoundedProtocol, "connection_lost", connection_lost)
    with socket.create_connection(address, timeout=DEADLINE_S) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        received = 0
        while not lost.wait(0.05):
            received += len(connection.recv(part)) if part else 0
        # What the system holds still arrives.
        with suppress(ConnectionResetError):
            while chunk := connection.recv(2**20):
                received += len(chunk)
    assert received < LARGE


def test_a_slow_client_that_takes_its_response_gets_all_of_it(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "_READ_S", 0.05)
    monkeypatch.setattr(proxy, "_READ_BYTES", 1)
    response = get(address, "/large")
    assert len(response.content) == LARGE


def test_malformed_requests_get_a_problem(address: tuple[str, int]) -> None:
    head, _, body = answer_to(address, b"NONSENSE\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["status"] == 400


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [CHUNKED, b"NONSENSE\r\n\r\n"],
        [CHUNKED + b"1\r\na\r\n0\r\n", *[b"A: " + b"a" * 500 + b"\r\n"] * 200],
        [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", CHUNKED, b"NONSENSE\r\n\r\n"],
    ],
)
def test_a_request_gets_no_second_response(address: tuple[str, int], parts: list[bytes]) -> None:
    """Behind a proxy that shares its connections, it would be another user's."""
    received, requests = b"", 0
    with socket.create_connection(address, timeout=DEADLINE_S) as connection:
        for part in parts:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(part)
            requests += part.count(b" HTTP/1.1\r\n")
            while received.count(b"]") < requests:  # The body of the response ends with it.
                received += connection.recv(65536)
        with suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
    assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 200") == requests


def test_headers_after_the_body_are_bounded(address: tuple[str, int]) -> None:
    body = b"1\r\na\r\n0\r\n"
    some = b"A: b\r\n" * 10 + b"\r\n"
    assert answer_to(address, CHUNKED[:-2] + b"Connection: close\r\n\r\n" + body + some).startswith(
        b"HTTP/1.1 200"
    )
    slow = CHUNKED.replace(b"POST /", b"POST /slow")
    BEGUN.clear()
    GOING_ON.clear()
    try:
        many = [b"A: " + b"a" * 500 + b"\r\n"] * 40
        assert answer_to(address, slow + body, *many).startswith(b"HTTP/1.1 431")
    finally:
        GOING_ON.set()


@pytest.mark.parametrize(
    ("path", "status"),
    [("/dead", 503), ("/500", 503), ("/503", 503), ("/404", 503), ("/408", 503)],
)
def test_responses_of_serve_itself_become_problems(
    address: tuple[str, int], path: str, status: int
) -> None:
    response = get(address, path, **{"X-Request-Id": "request-1"})
    assert response.status_code == response.json()["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["x-request-id"] == response.json()["request_id"] == "request-1"


@pytest.mark.parametrize("given", ["short", "x" * 65, "a b c d e f g", "ünlesbar"])
def test_an_invalid_request_id_is_replaced_before_anything_sees_it(
    address: tuple[str, int], given: str
) -> None:
    url = f"http://{address[0]}:{address[1]}/"
    headers = {"X-Request-Id": given.encode()}
    forwarded = httpx.get(url, headers=headers, timeout=DEADLINE_S).json()
    ids = [forwarded[n + 1] for n, name in enumerate(forwarded) if name == "x-request-id"]
    assert len(ids) == 1
    assert len(ids[0]) == 32


def test_a_draining_proxy_finishes_requests_and_refuses_new_ones(
    address: tuple[str, int], flag: Path
) -> None:
    BEGUN.clear()
    GOING_ON.clear()
    responses: list[httpx.Response] = []
    request = threading.Thread(target=lambda: responses.append(get(address, "/slow")))
    request.start()
    assert BEGUN.wait(DEADLINE_S)
    assert get(address, DRAIN_PATH).json() == {"draining": False, "in_flight": 1}
    flag.touch()
    refused = get(address, "/")
    assert refused.status_code == 503
    assert refused.headers["connection"] == "close"
    assert get(address, "/v1/jobs/abc").status_code == 200, "its sender waits for the result"
    url = f"http://{address[0]}:{address[1]}/v1/jobs"
    for path in ("", "/abc"):
        assert httpx.post(f"{url}{path}", timeout=DEADLINE_S).status_code == 503
    assert get(address, DRAIN_PATH).json() == {"draining": True, "in_flight": 1}
    GOING_ON.set()
    request.join(DEADLINE_S)
    assert responses[0].status_code == 200
    wait_until(lambda: get(address, DRAIN_PATH).json()["in_flight"] == 0, "nothing is in flight")


def test_https_has_the_same_limits(flag: Path, tmp_path: Path) -> None:
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -keyout a.key -out a.pem"
    )
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=60)
    files = {"ssl_certfile": tmp_path / "a.pem", "ssl_keyfile": tmp_path / "a.key"}
    with local_server(ProxyMiddleware(application, flag), **files) as (host, port):
        url = f"https://{host}:{port}/"
        assert httpx.get(url, verify=False, timeout=DEADLINE_S).status_code == 200
        large = httpx.get(url, verify=False, timeout=DEADLINE_S, headers={"A": "a" * 20_000})
        assert large.status_code == 431


def test_a_probe_does_not_wait_for_an_ingress(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "_PROBE_S", 0.2)
    GOING_ON.clear()
    try:
        response = get(address, "/readyz")
    finally:
        GOING_ON.set()
    assert response.status_code == 503
    assert response.json()["detail"].endswith("or none is ready; try again")


def test_an_error_of_serve_is_a_problem(address: tuple[str, int]) -> None:
    response = get(address, "/broken")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert "an actor is gone" not in response.text
