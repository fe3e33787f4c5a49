"""What the HTTP proxy of Serve does in front of the application.

Serve's proxy has no limits for headers and slow readers, responds to a dead ingress with plain
text, and ends with the requests that it is forwarding. Serve calls `configure` in each proxy
process if the environment variable of `serve.settings.PROXY_CALLBACK` names it, as `mcn serve` and
the images do.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from pathlib import Path
from typing import Any, Final

import uvicorn.config
from httptools import HttpParserError
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve.http.errors import ID_HEADER, MEDIA_TYPE, as_dict, request_id_of
from serve.metrics import shared_folder
from serve.settings import is_loopback

logger = logging.getLogger("serve")

MARK: Final = "x-content-type-options"
"""Header of every response of the application; responses of Serve itself do not have it."""

DRAIN_PATH: Final = "/-/drain"

_MAX_HEADER_BYTES: Final = 16 * 2**10
_HEADER_S: Final = 10.0
_LINGER_S: Final = 5.0
_READ_S: Final = 60.0
_READ_BYTES: Final = 512 * 2**10
"""A client takes at least so much of a response in this time, or its connection is closed."""
_RETRY_AFTER_S: Final = 5
_SERVE_PATHS: Final = ("/-/healthz", "/-/routes")
_PROBES: Final = ("/healthz", "/readyz")
_PROBE_S: Final = 3.0
"""Serve lets requests wait until an ingress is ready; probes want to know that none is."""
_DETAILS: Final = {
    404: (503, "the endpoint is starting; try again"),
    408: (503, "the request took too long; send a smaller picture or try again"),
    429: (503, "the endpoint is too busy; try again"),
}
"""Status and problem by the status of a response of Serve itself; 503 for the others."""


def configure() -> list[Middleware]:
    """Limit the headers of this proxy, and return its middleware."""
    import ray

    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedProtocol.__name__}"
    node = ray.get_runtime_context().get_node_id()
    return [Middleware(ProxyMiddleware, flag=drain_flag(node))]


def drain_flag(node_id: str) -> Path:
    """The file whose existence makes the proxy of a node refuse new requests."""
    return shared_folder(node_id[:16]) / "draining"


class ProxyMiddleware:
    """Identifies each request, refuses it while draining, and responds if the ingress died (ASGI).

    Parameters
    ----------
    app : ASGI application
    flag : Path
        See `drain_flag`.
    """

    def __init__(self, app: ASGIApp, flag: Path) -> None:
        self._app, self._flag = app, flag
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in _SERVE_PATHS:
            await self._app(scope, receive, send)
            return
        request_id = _identify(scope)
        if not scope["path"].startswith("/"):
            # Serve finds no application for it, as while the endpoint starts.
            detail = (
                f"{scope['method']} {scope['path'][:80]}: not a path; send one such as /healthz"
            )
            await _problem(400, detail, request_id)(scope, receive, send)
            return
        draining = self._flag.exists()
        if scope["path"] == DRAIN_PATH and _is_local(scope):
            state = {"draining": draining, "in_flight": self._in_flight}
            await JSONResponse(state)(scope, receive, send)
        elif draining and not _is_of_a_job(scope):
            detail = "the endpoint is stopping; try again"
            await _problem(503, detail, request_id, close=True)(scope, receive, send)
        else:
            self._in_flight += 1
            try:
                await self._forward(scope, receive, send, request_id)
            finally:
                self._in_flight -= 1

    async def _forward(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        status: int | None = None
        forwarded = False

        async def send_if_of_application(message: Message) -> None:
            nonlocal status, forwarded
            if message["type"] == "http.response.start":
                status = message["status"]
                forwarded = status < 400 or MARK in Headers(raw=message["headers"])
            if forwarded:
                await send(message)

        try:
            async with asyncio.timeout(_PROBE_S if scope["path"] in _PROBES else None):
                await self._app(scope, receive, send_if_of_application)
        except Exception as error:  # Whatever Serve raises while parts of the cluster are gone.
            if forwarded:
                raise
            if not isinstance(error, TimeoutError):
                logger.warning("request %s: Serve failed: %r", request_id, error)
        if not forwarded:
            died = (503, "the process that handled the request died, or none is ready; try again")
            problem = _problem(*_DETAILS.get(status or 0, died), request_id)
            await problem(scope, receive, send)


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 that bounds what slow clients hold.

    Headers have a maximum size and a time by which they must have arrived, and a response must be
    taken at a minimum speed.
    """

    _header_bytes = 0
    _trailer_bytes = 0
    _is_reading_headers = False
    _timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None
    _refusal: tuple[int, str] | None = None
    _has_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time for the headers of the first request."""
        super().connection_made(transport)
        self._begin_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the times."""
        self._stop_timer()
        self._stop_read_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the time for a part of the response that the client has not taken."""
        super().pause_writing()
        self._stop_read_timer()
        self._begin_part()

    def resume_writing(self) -> None:
        """The client has taken the response, but for a small rest."""
        self._stop_read_timer()
        super().resume_writing()

    def on_message_begin(self) -> None:
        """Start the time for the headers of a further request."""
        super().on_message_begin()
        if not self._is_reading_headers:
            self._begin_headers()

    def data_received(self, data: bytes) -> None:
        """Refuse headers that are not over and already too large."""
        if self.transport.is_closing() or self._has_refused:
            return
        self._header_bytes += len(data)
        super().data_received(data)
        if self._is_reading_headers and self._header_bytes > _MAX_HEADER_BYTES:
            self._refuse_large()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header; those after the body are dropped, and have the same maximum size."""
        if self._is_reading_headers:
            super().on_header(name, value)
            return
        self._trailer_bytes += len(name) + len(value) + 4
        if self._trailer_bytes > _MAX_HEADER_BYTES:
            self._refusal = _TOO_LARGE
            raise HttpParserError(_TOO_LARGE[1])

    def on_headers_complete(self) -> None:
        """Refuse headers that are too large."""
        self._stop_timer()
        self._is_reading_headers = False
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > _MAX_HEADER_BYTES:
            self._refusal = _TOO_LARGE
            raise HttpParserError(_TOO_LARGE[1])
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Leave a client that was answered before its body's end a short time to stop sending."""
        if self.cycle.more_body:
            self._stop_timer()
            self._timer = self.loop.call_later(_LINGER_S, self.transport.close)
        super().on_response_complete()

    def on_message_complete(self) -> None:
        """The body has ended."""
        self._stop_timer()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Send a problem, unless another response has begun, and close the connection."""
        self._stop_timer()
        if self.transport.is_closing() or self._has_refused:
            return
        if not self._may_respond():
            # A second response would be taken for that of the next request.
            self.transport.close()
            return
        status, detail = self._refusal or (400, f"{msg} Check the client.")
        response = _problem(status, detail, uuid.uuid4().hex, close=True)
        lines = [b"HTTP/1.1 %d" % status]
        lines += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self._has_refused = True
        # Closed at once, a client that is still sending would lose the response.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(_LINGER_S, self.transport.close)

    def _may_respond(self) -> bool:
        """Whether the next response on the connection is that of the malformed request."""
        if not self.cycle:  # None before the first request
            return True
        is_in_headers = self._is_reading_headers
        return self.cycle.response_complete if is_in_headers else not self.cycle.response_started

    def _begin_headers(self) -> None:
        self._is_reading_headers, self._header_bytes, self._trailer_bytes = True, 0, 0
        self._timer = self.loop.call_later(_HEADER_S, self._refuse_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin_part(self) -> None:
        size = self.transport.get_write_buffer_size()
        self._read_timer = self.loop.call_later(_READ_S, self._end_part, size)

    def _end_part(self, size: int) -> None:
        if self.transport.get_write_buffer_size() > size - _READ_BYTES:
            # Closing would wait for the client to take the rest.
            self.transport.abort()
        else:
            self._begin_part()

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _refuse_large(self) -> None:
        self._refusal = _TOO_LARGE
        self.send_400_response(_TOO_LARGE[1])

    def _refuse_slow(self) -> None:
        if self._header_bytes == 0:  # Nothing was asked, so nothing is answered.
            self.transport.close()
            return
        self._refusal = (
            408,
            f"the headers did not arrive within {_HEADER_S:g} s; send them faster",
        )
        self.send_400_response(self._refusal[1])


_TOO_LARGE: Final = (431, f"the headers may have at most {_MAX_HEADER_BYTES} bytes; send fewer")


def _identify(scope: Scope) -> str:
    """The request's id; one that is invalid is replaced before anything sees it."""
    headers = MutableHeaders(scope=scope)
    request_id = request_id_of(headers.get(ID_HEADER))
    del headers[ID_HEADER]
    headers[ID_HEADER] = request_id
    return request_id


def _is_of_a_job(scope: Scope) -> bool:
    """Whether a request is about a job that was sent before; its sender may fetch the result."""
    path: str = scope["path"]
    return scope["method"] != "POST" and path.startswith("/v1/jobs/")


def _is_local(scope: Scope) -> bool:
    client, server = scope.get("client"), scope.get("server")
    return bool(client and (is_loopback(client[0]) or (server and client[0] == server[0])))


def _problem(status: int, detail: str, request_id: str, close: bool = False) -> Response:
    headers: dict[str, Any] = {
        ID_HEADER: request_id,
        MARK: "nosniff",
        "cache-control": "no-store",
    }
    if status == 503:
        headers["retry-after"] = str(_RETRY_AFTER_S)
    if close:
        headers["connection"] = "close"
    return JSONResponse(
        as_dict(status, detail, request_id), status, headers=headers, media_type=MEDIA_TYPE
    )
