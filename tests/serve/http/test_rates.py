"""Rates of a token hold for all ingress replicas together, if they count in one store."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fakeredis import TcpFakeServer

from serve.http.auth import AccessControl
from serve.settings import Settings, SettingsError
from serve.tokens import add_token

from ...waiting import DEADLINE_S
from ..local import local_client, local_services


@pytest.fixture
def redis() -> Iterator[str]:
    """Address of a store for counts."""
    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(DEADLINE_S)


def statuses(settings: Settings, token: str, requests: int) -> list[int]:
    """Statuses of requests that go to two replicas in turn."""
    headers = {"Authorization": f"Bearer {token}"}
    services = local_services("test-rates", settings=settings)
    with local_client(services) as first, local_client(services) as second:
        return [
            (first, second)[n % 2].post("/v1/classify", headers=headers).status_code
            for n in range(requests)
        ]


@pytest.fixture
def tokens(tmp_path: Path) -> tuple[str, str]:
    file = tmp_path / "tokens.json"
    return str(file), add_token(file, "lab", ["analyze"])


def test_replicas_that_share_a_store_count_together(
    redis: str, tokens: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, token = tokens
    shared = Settings(tokens=file, requests_a_minute=6, counts=f"async+redis://{redis}")
    assert statuses(shared, token, 8) == [422] * 6 + [429] * 2
    # As in the images, where the environment says where requests are counted.
    monkeypatch.setenv("MCN_COUNTS", f"async+redis://{redis}/1")
    assert statuses(Settings(tokens=file, requests_a_minute=6), token, 8) == [422] * 6 + [429] * 2


def test_replicas_count_for_themselves_while_the_store_is_gone(tokens: tuple[str, str]) -> None:
    file, token = tokens
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = Settings(tokens=file, requests_a_minute=3, counts=f"async+redis://{address}")
    assert statuses(settings, token, 8) == [422] * 6 + [429] * 2


def test_a_store_that_does_not_respond_delays_one_request(tokens: tuple[str, str]) -> None:
    file, token = tokens
    connections = []

    def take() -> None:
        with suppress(OSError):
            while True:
                connections.append(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=take)
        thread.start()
        settings = Settings(
            tokens=file,
            requests_a_minute=6,
            counts=f"async+redis://127.0.0.1:{listener.getsockname()[1]}",
        )
        assert statuses(settings, token, 14) == [422] * 12 + [429] * 2
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(DEADLINE_S)
    # The first request of each replica, and no retries.
    assert len(connections) == 2


@pytest.mark.parametrize("counts", ["redis://127.0.0.1:6379", "async+nothing://x", "x"])
def test_a_store_that_cannot_be_used_is_named(counts: str) -> None:
    with pytest.raises(SettingsError, match="counts: "):
        AccessControl(Settings(insecure=True, counts=counts))
