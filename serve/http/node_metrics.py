"""The metrics of one node on a port of its own, for clusters of several nodes.

A request to the endpoint's own `/metrics` reaches any ingress replica, so it gives the metrics of
whichever node that one is on: figures of one node would count under the name of another.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Response
from starlette.exceptions import HTTPException

from serve.http.auth import AccessControl, require
from serve.http.dispatch import Services
from serve.http.errors import Problem, on_http_error, on_problem
from serve.http.middleware import RequestMiddleware
from serve.http.routes import system
from serve.settings import SettingsError


@asynccontextmanager
async def export_node_metrics(
    services: Services, access: AccessControl, host: str, port: int
) -> AsyncIterator[None]:
    """Serve `/metrics` of this node for the duration of the context.

    All ingress replicas of a node listen on the same port. Their metrics are shared, so any of them
    may respond.

    Parameters
    ----------
    services : Services
    access : AccessControl
        Requests need a token of scope `admin`, as on the endpoint itself.
    host : str
        Address of this node.
    port : int

    Raises
    ------
    SettingsError
        If another program uses the port.
    """
    import uvicorn

    application = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    application.state.services = services
    application.state.access = access
    application.add_api_route(
        "/metrics",
        system.metrics,
        response_class=Response,
        dependencies=[Depends(require("admin"))],
    )
    application.add_exception_handler(Problem, on_problem)
    application.add_exception_handler(HTTPException, on_http_error)
    application.add_middleware(RequestMiddleware, metrics=services.metrics)
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            # Prometheus keeps its connections open.
            timeout_graceful_shutdown=1,
        )
    )
    with _listen(host, port) as listener:
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await task


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Shared with the other ingress replicas of this node, which belong to the same user.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"metrics_port = {port}: {host}:{port} is not free ({error}); choose another port"
        ) from error
    return listener
