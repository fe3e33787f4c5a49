"""An HTTP proxy for an S3 server that breaks a share of the requests, as real networks do."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL

from .waiting import DEADLINE_S

_SLOW_DOWN = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>slow</Message></Error>'
_NO_SUCH_BUCKET = (
    b'<?xml version="1.0"?><Error><Code>NoSuchBucket</Code><Message>gone</Message></Error>'
)
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-encoding"}


@dataclass
class Faults:
    """What happened to requests; `share` and all below `done` may change meanwhile."""

    share: float
    chance: random.Random
    requests: int = 0
    sent_bytes: int = 0
    asked: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    kinds: tuple[str, ...] = ("slow down", "reset", "lost answer", "cut short")
    missing_bucket: str | None = None
    refuses: bool = False
    stall_s: float = 5.0

    def next(self, path: str) -> str | None:
        """Choose what to do to the next request."""
        self.requests += 1
        if self.missing_bucket is not None and path.startswith(f"/{self.missing_bucket}"):
            self.done["no such bucket"] += 1
            return "no such bucket"
        if self.refuses:
            self.done["reset"] += 1
            return "reset"
        if self.chance.random() >= self.share:
            return None
        fault = self.chance.choice(self.kinds)
        self.done[fault] += 1
        return fault


@contextmanager
def fault_proxy(target: str, share: float, seed: int = 0) -> Iterator[tuple[str, Faults]]:
    """Run a proxy; gives its address and the record of its faults."""
    faults = Faults(share, random.Random(seed))
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with aiohttp.ClientSession(auto_decompress=False) as session:

            async def answer(request: web.Request) -> web.StreamResponse:
                return await _answer(request, session, target, faults)

            application = web.Application(client_max_size=2**30)
            application.router.add_route("*", "/{path:.*}", answer)
            runner = web.AppRunner(application)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            address.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
            started.set()
            await over.wait()
            await runner.cleanup()

    address: list[str] = []
    started = threading.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(DEADLINE_S)
    try:
        yield address[0], faults
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(DEADLINE_S)


async def _answer(
    request: web.Request, session: aiohttp.ClientSession, target: str, faults: Faults
) -> web.StreamResponse:
    fault = faults.next(request.path)
    if fault == "slow down":
        return web.Response(status=503, body=_SLOW_DOWN, content_type="application/xml")
    if fault == "no such bucket":
        return web.Response(status=404, body=_NO_SUCH_BUCKET, content_type="application/xml")
    if fault == "stall":
        await asyncio.sleep(faults.stall_s)
    if fault == "reset":
        return _abort(request)
    async with session.request(
        request.method,
        URL(target + request.raw_path, encoded=True),
        # The Expect header of the client is already answered; the server need not answer it again.
        headers={k: v for k, v in request.headers.items() if k.lower() != "expect"},
        data=await request.read(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        allow_redirects=False,
    ) as upstream:
        body = await upstream.read()
        faults.asked.append(
            f"{request.method} {request.rel_url} {request.headers.get('Range', '')}"
        )
        faults.sent_bytes += len(body)
        headers = {k: v for k, v in upstream.headers.items() if k.lower() not in _HOP}
        if fault == "lost answer":
            return _abort(request)
        if fault == "cut short" and len(body) > 1 and request.method != "HEAD":
            response = web.StreamResponse(status=upstream.status, headers=headers)
            response.content_length = len(body)
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
            return _abort(request)
        if request.method == "HEAD":
            return web.Response(status=upstream.status, headers=headers)
        headers.pop("Content-Length", None)
        return web.Response(status=upstream.status, headers=headers, body=body)


def _abort(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    raise asyncio.CancelledError
