"""Clients of an endpoint that is measured: one or many, patient or not."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from running import Running

_TYPE: Final = {"Content-Type": "image/tiff"}


def drive(running: Running, pictures: Sequence[Path], clients: int) -> dict[str, Any]:
    """Send all pictures with parallel clients that respect Retry-After."""
    from serve.client import Client

    data = [picture.read_bytes() for picture in pictures]
    times: list[float] = []

    def send(image: bytes) -> None:
        started = time.perf_counter()
        with Client(running.url, patience_s=600, timeout_s=600) as client:
            client._request("POST", "/v1/analyze", content=image, headers=_TYPE)
        times.append(time.perf_counter() - started)

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(send, data))
    elapsed = time.perf_counter() - started
    return {
        "pictures_per_second": round(len(data) / elapsed, 3),
        "statuses": {"200": len(times)},
        "p50_s": round(float(np.percentile(times, 50)), 3),
        "p99_s": round(float(np.percentile(times, 99)), 3),
    }


def one_by_one(running: Running, pictures: Sequence[Path]) -> list[float]:
    """Seconds of each picture, one client."""
    times = []
    with httpx.Client(base_url=running.url, timeout=600) as client:
        for picture in pictures:
            data = picture.read_bytes()
            started = time.perf_counter()
            client.post("/v1/analyze", content=data, headers=_TYPE).raise_for_status()
            times.append(time.perf_counter() - started)
    return times


async def open_loop(
    url: str, pictures: Sequence[bytes], rate: float, seconds: float
) -> dict[str, Any]:
    """Send pictures at a constant rate, without waiting for earlier ones."""
    rng = random.Random(0)
    statuses: Counter[str] = Counter()
    accepted: list[float] = []
    refused: list[float] = []
    hints = True

    async def send(client: httpx.AsyncClient, image: bytes) -> None:
        nonlocal hints
        started = time.perf_counter()
        try:
            response = await client.post("/v1/analyze", content=image, headers=_TYPE)
        except httpx.HTTPError as error:
            statuses[type(error).__name__] += 1
            return
        elapsed = time.perf_counter() - started
        statuses[str(response.status_code)] += 1
        if response.status_code == 200:
            accepted.append(elapsed)
        else:
            refused.append(elapsed)
            hints &= response.headers.get("retry-after", "").isdigit()

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        until = time.monotonic() + seconds
        tasks = []
        while time.monotonic() < until:
            tasks.append(asyncio.create_task(send(client, rng.choice(pictures))))
            await asyncio.sleep(rng.expovariate(rate))
        await asyncio.gather(*tasks)
    return {
        "statuses": dict(statuses),
        "accepted_s": accepted,
        "refused_s": refused,
        "retry_after": hints,
    }


def keep_busy(running: Running, pictures: Sequence[Path], clients: int, seconds: float) -> None:
    """Keep this many clients busy for this many seconds."""
    stopped = threading.Event()
    with ThreadPoolExecutor(max(1, clients)) as threads:
        loads = [
            threads.submit(run_client, running.url, pictures, stopped, n) for n in range(clients)
        ]
        time.sleep(seconds)
        stopped.set()
        for load in loads:
            load.result(600)


def run_client(
    url: str, pictures: Sequence[Path], stopped: threading.Event, seed: int
) -> Counter[str]:
    """Send requests until `stopped` is set, and count the responses by status and type."""
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    with httpx.Client(base_url=url, timeout=120) as client:
        while not stopped.is_set():
            data = rng.choice(pictures).read_bytes()
            try:
                response = client.post("/v1/analyze", content=data, headers=_TYPE)
            except httpx.HTTPError as error:
                outcomes[type(error).__name__] += 1
                continue
            kind = response.headers.get("content-type", "").partition(";")[0]
            outcomes[f"{response.status_code} {kind}"] += 1
            if response.status_code != 200:
                time.sleep(rng.uniform(0.2, 0.6))
    return outcomes
