"""The HTTP application over deployments in this process, without Ray, ports or other processes."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from serve.http.application import create_app
from serve.http.auth import AccessControl
from serve.http.dispatch import ConcurrencyLimit, Services, body_room
from serve.http.proxy import BoundedProtocol
from serve.metrics import ServeMetrics
from serve.settings import Settings, plan_replicas

from ..waiting import DEADLINE_S, wait_until

_OPEN = Settings(insecure=True)


class LocalHandle:
    """Replaces the Serve handle of a deployment by a local object."""

    def __init__(self, deployment: Any) -> None:
        self._deployment = deployment

    def __getattr__(self, name: str) -> Any:
        async def remote(*arguments: Any, **named: Any) -> Any:
            values = [await each if inspect.isawaitable(each) else each for each in arguments]
            answer = getattr(self._deployment, name)(*values, **named)
            return await answer if inspect.isawaitable(answer) else answer

        return type("Method", (), {"remote": staticmethod(remote)})

    def options(self, *, stream: bool) -> LocalStreams:
        """As of a Serve handle: methods are generators."""
        assert stream
        return LocalStreams(self._deployment)


class LocalStreams:
    """Replaces a Serve handle whose methods give streams."""

    def __init__(self, deployment: Any) -> None:
        self._deployment = deployment

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._deployment, name)
        return type("Method", (), {"remote": lambda _, *values: LocalStream(method(*values))})()


class LocalStream:
    """The items of an asynchronous generator, as a Serve handle gives them."""

    def __init__(self, items: AsyncGenerator[Any, None]) -> None:
        self._items = items

    def __aiter__(self) -> AsyncGenerator[Any, None]:
        return self._items

    def cancel(self) -> None:
        """Its consumer is ended, and the generator with it."""


def local_services(
    metrics: ServeMetrics | str,
    *,
    segmenter: Any = None,
    classifier: Any = None,
    reader: Any = None,
    jobs: Any = None,
    settings: Settings = _OPEN,
) -> Services:
    """Services of local deployments; `metrics` may be the label of new metrics."""
    return Services(
        LocalHandle(segmenter),
        LocalHandle(classifier),
        LocalHandle(reader),
        LocalHandle(jobs),
        settings,
        plan_replicas(2, 0, settings),
        ServeMetrics(metrics) if isinstance(metrics, str) else metrics,
        analyses=ConcurrencyLimit(1),
        crops=ConcurrencyLimit(1),
        large=ConcurrencyLimit(1),
        bodies=body_room(settings),
    )


@contextmanager
def local_server(app: ASGIApp, **files: Any) -> Iterator[tuple[str, int]]:
    """Serve an application as Serve's proxy does, from a thread; gives host and port.

    `files` are those of HTTPS, as uvicorn names them.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            app, port=0, http=BoundedProtocol, lifespan="off", log_level="critical", **files
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, "the server listens")
        yield server.servers[0].sockets[0].getsockname()[:2]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(DEADLINE_S)


def local_client(services: Services) -> TestClient:
    """A client of the application; internal errors give responses, as in production."""
    app = create_app(services, AccessControl(services.settings))
    return TestClient(
        app,
        base_url="http://127.0.0.1:8000",
        raise_server_exceptions=False,
        client=("127.0.0.1", 50000),
        follow_redirects=False,
    )
