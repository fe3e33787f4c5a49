"""Middleware of every request: its id, security headers, metrics and audit line."""

from __future__ import annotations

import asyncio
import json
import logging
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.http.errors import ID_HEADER, MEDIA_TYPE, as_dict, request_id_of
from serve.http.hosts import is_host_valid
from serve.metrics import ServeMetrics

audit = logging.getLogger("serve.audit")
logger = logging.getLogger("serve")

_CLIENT_CLOSED: Final = 499
_NO_HOST: Final = "the header Host is missing or cannot be read; send the endpoint's name"
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def _response_of(problem: dict[str, Any]) -> JSONResponse:
    return JSONResponse(problem, problem["status"], media_type=MEDIA_TYPE)


def _without_host(location: str) -> str:
    """A redirect's address as a path: its host is what the client named, and may be anyone's."""
    url = urlsplit(location)
    if not url.netloc and not location.startswith(("//", "/\\", "\\")):
        return location
    # Browsers read //x and /\\x as a host.
    return urlunsplit(("", "", "/" + url.path.lstrip("/\\"), url.query, url.fragment))


class RequestMiddleware:
    """Gives each request an id and headers, counts it and logs it (ASGI).

    Parameters
    ----------
    app : ASGI application
    metrics : ServeMetrics
    """

    def __init__(self, app: ASGIApp, metrics: ServeMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # The proxy sets the id of every request and the header of every response.
        request_id = request_id_of(Headers(scope=scope).get(ID_HEADER))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0
        sent_bytes = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if "location" in headers:
                    headers["location"] = _without_host(headers["location"])
            elif message["type"] == "http.response.body":
                sent_bytes += len(message.get("body", b""))
            await send(message)

        started = perf_counter()
        self._metrics.in_flight.inc()
        try:
            if is_host_valid(scope):
                await self._app(scope, receive, send_and_note)
            else:
                problem = as_dict(400, _NO_HOST, request_id)
                await _response_of(problem)(scope, receive, send_and_note)
        except asyncio.CancelledError:
            status = status or _CLIENT_CLOSED
            raise
        except Exception:
            logger.exception("request %s failed", request_id)
            if status == 0:
                problem = as_dict(500, "internal error; look up this id in the log", request_id)
                await _response_of(problem)(scope, receive, send_and_note)
        finally:
            self._metrics.in_flight.dec()
            self._record(scope, status, sent_bytes, perf_counter() - started)

    def _record(self, scope: Scope, status: int, sent_bytes: int, seconds: float) -> None:
        state = scope["state"]
        # Requested paths would make an unbounded number of labels.
        route = getattr(scope.get("route"), "path_format", "none")
        method = scope["method"] if route != "none" else "any"
        self._metrics.requests.labels(route, method, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if reason := state.get("refused"):
            self._metrics.refused.labels(reason).inc()
        client = scope.get("client")
        audit.info(
            json.dumps(
                {
                    "request_id": state["request_id"],
                    "token": state.get("token"),
                    "client": client[0] if client else None,
                    "method": scope["method"],
                    "path": scope["path"][:200],
                    "status": status,
                    "ms": round(seconds * 1000, 1),
                    "bytes": sent_bytes,
                }
            )
        )
