"""Overhead of the endpoint over its models, and its behaviour at its limits.

- throughput: pictures per second for 32 parallel clients, relative to the same models called
  directly in one process on the same cores, before and after;
- latency: the time that the endpoint adds to a picture of 64×64 and to one of 1024×768 pixels of
  one client, compared with a direct call with as many threads as a replica has;
- start: seconds from the command to ready, memory by process, and the ports;
- trickle: 200 clients that send one byte at a time, and the times of another client beside them;
- batching: pictures per second with batches of 8, relative to no batches;
- overload: three times its capacity, for a minute, without retries;
- scaling: replicas over time under a step of load, plotted to runs/serve-scaling.png;
- kills: replicas of each kind in turn are killed with `kill -9` under load, 20 times.

Prints one JSON object.

    python benchmarks/endpoint.py [--only PART …]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from load import drive, keep_busy, one_by_one, open_loop, run_client
from running import endpoint

PARTS = ("start", "latency", "trickle", "throughput", "batching", "overload", "scaling", "kills")
CLIENTS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of the overload")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--direct", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.direct:
        print(json.dumps(_direct(*options.direct)))
        return
    with tempfile.TemporaryDirectory(prefix="mcn-serve-") as folder:
        pictures = render(Path(folder), options.pictures)
        report: dict[str, Any] = {}
        for part in options.only:
            report |= {part: globals()[part](Path(folder), pictures, options)}
            say(f"{part}: {report[part]}")
    print(json.dumps(report))


def throughput(folder: Path, pictures: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    before = direct(folder, threads=os.cpu_count() or 1)
    with endpoint(folder, most=os.cpu_count() or 1) as running:
        measured = drive(running, pictures, CLIENTS)
    after = direct(folder, threads=os.cpu_count() or 1)
    direct_rate = 2 / (1 / before["pictures_per_second"] + 1 / after["pictures_per_second"])
    return {
        "direct_pictures_per_second": [before["pictures_per_second"], after["pictures_per_second"]],
        "served_pictures_per_second": measured["pictures_per_second"],
        "of_direct": round(measured["pictures_per_second"] / direct_rate, 3),
        **{name: measured[name] for name in ("statuses", "p50_s", "p99_s")},
    }


def latency(folder: Path, pictures: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    del options
    report = {}
    with endpoint(folder, most=1) as running:
        for size, images in (("64x64", cut_small(pictures, folder)), ("1024x768", pictures)):
            served = one_by_one(running, images)
            # The endpoint stays up, idle, so that both are measured on the same machine state.
            alone = direct(folder, threads=1, core=images[0].parents[2])["seconds"]
            again = one_by_one(running, images)
            added = [min(a, b) - c for a, b, c in zip(served, again, alone, strict=True)]
            report[size] = {
                "direct_p50_s": round(statistics.median(alone), 4),
                "served_p50_s": round(statistics.median(served + again), 4),
                "added_p50_ms": round(1000 * statistics.median(added), 1),
            }
    return report


def cut_small(pictures: Sequence[Path], folder: Path) -> list[Path]:
    """Pictures of 64×64 pixels from the middle of others, in the same kind of folders."""
    import tifffile

    paths = []
    for picture in pictures:
        path = folder / "small" / picture.relative_to(folder / "core")
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = tifffile.imread(picture)
        y, x = pixels.shape[0] // 2, pixels.shape[1] // 2
        tifffile.imwrite(path, pixels[y : y + 64, x : x + 64])
        paths.append(path)
    return paths


def start(folder: Path, pictures: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    del pictures, options
    started = time.monotonic()
    with endpoint(folder, most=1) as running:
        seconds = running.ready_at - started
        return {
            "seconds_to_ready": round(seconds, 1),
            "memory_mib": running.memory_mib(),
            "memory_mib_by_process": running.memory_by_process(),
            "ports": running.ports(),
        }


def trickle(folder: Path, pictures: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    del options
    data = b"x" * 1000
    head = (
        "POST /v1/analyze HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/tiff\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    ).encode()
    images = pictures[:16]
    with endpoint(folder, most=1) as running:
        unloaded = one_by_one(running, images) + one_by_one(running, images)
        address = ("127.0.0.1", int(running.url.rpartition(":")[2]))
        stopped = threading.Event()

        def send() -> None:
            while not stopped.is_set():
                with socket.create_connection(address) as connection, suppress(OSError):
                    connection.sendall(head)
                    for byte in data:
                        if stopped.wait(1.0):
                            return
                        connection.sendall(bytes([byte]))

        with ThreadPoolExecutor(200) as threads:
            for _ in range(200):
                threads.submit(send)
            time.sleep(3.0)
            beside = one_by_one(running, images) + one_by_one(running, images)
            stopped.set()
    p99 = [float(np.percentile(times, 99)) for times in (unloaded, beside)]
    return {
        "unloaded_p99_s": round(p99[0], 3),
        "beside_p99_s": round(p99[1], 3),
        "beside_over_unloaded": round(p99[1] / p99[0], 2),
    }


def batching(folder: Path, pictures: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    del options
    rates: dict[int, list[float]] = {1: [], 8: []}
    for _ in range(2):
        for batch in rates:
            pool = {"batch": batch, "wait_ms": 5 if batch > 1 else 0, "ongoing": batch, "queued": 8}
            with endpoint(folder, most=1, threads=os.cpu_count() or 1, **pool) as running:
                measured = drive(running, pictures, 12)
            rates[batch].append(measured["pictures_per_second"])
    return {
        "pictures_per_second": {str(batch): rate for batch, rate in rates.items()},
        "on_over_off": round(statistics.mean(rates[8]) / statistics.mean(rates[1]), 3),
    }


def overload(folder: Path, pictures: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    with endpoint(folder, most=cores) as running:
        drive(running, pictures, CLIENTS)  # Warm up, so that it knows the duration of requests.
        capacity = drive(running, pictures, CLIENTS)["pictures_per_second"]
        unloaded = one_by_one(running, pictures)
        memory = running.memory_mib()
        measured = asyncio.run(
            open_loop(
                running.url, [p.read_bytes() for p in pictures], 3 * capacity, options.seconds
            )
        )
        after = running.memory_mib()
        started = time.monotonic()
        usual = 1.5 * statistics.median(unloaded)
        while one_by_one(running, pictures[:1])[0] > usual:
            pass
        recovered = time.monotonic() - started
    p99 = float(np.percentile(unloaded, 99))
    return {
        "capacity_per_second": round(capacity, 3),
        "offered_per_second": round(3 * capacity, 3),
        "statuses": measured["statuses"],
        "retry_after_on_every_503": measured["retry_after"],
        "refused_p50_ms": round(1000 * float(np.median(measured["refused_s"] or [0])), 1),
        "refused_p99_ms": round(1000 * float(np.percentile(measured["refused_s"] or [0], 99)), 1),
        "unloaded_p99_s": round(p99, 3),
        "accepted_p99_s": round(float(np.percentile(measured["accepted_s"], 99)), 3),
        "accepted_over_unloaded": round(float(np.percentile(measured["accepted_s"], 99)) / p99, 2),
        "memory_mib": [memory, after],
        "recovered_s": round(recovered, 1),
    }


def scaling(folder: Path, pictures: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    """On a simulated cluster of many cores, because replicas are counted, not pictures."""
    del options
    samples: list[tuple[float, int, int]] = []
    most = 6
    with endpoint(folder, least=1, most=most, cores=12) as running:
        started = time.monotonic()
        stopped = threading.Event()
        clients = 0

        def watch() -> None:
            while not stopped.wait(1.0):
                samples.append((time.monotonic() - started, clients, running.replicas("Models")))

        watcher = threading.Thread(target=watch)
        watcher.start()
        for clients, seconds in ((0, 10), (1, 20), (16, 90), (0, 150)):
            keep_busy(running, pictures, clients, seconds)
        stopped.set()
        watcher.join(60)
    _draw(samples, Path("runs/serve-scaling.png"))
    counts = [replicas for _, _, replicas in samples]
    return {
        "replicas_from_to_and_back": [counts[0], max(counts), counts[-1]],
        "seconds_to_most": round(
            next(t for t, _, n in samples if n == max(counts))
            - next(t for t, c, _ in samples if c > 1),
            1,
        ),
    }


def kills(folder: Path, pictures: list[Path], options: argparse.Namespace) -> dict[str, Any]:
    rng = random.Random(0)
    killed: Counter[str] = Counter()
    stopped = threading.Event()
    with endpoint(folder, most=os.cpu_count() or 1) as running:
        with ThreadPoolExecutor(6) as threads:
            loads = [
                threads.submit(run_client, running.url, pictures, stopped, n) for n in range(6)
            ]
            for number in range(options.kills):
                kind = ("Models", "Catalog", "Ingress", "Models")[number % 4]
                time.sleep(rng.uniform(0.5, 3.0))
                running.wait_for(kind)
                killed[kind] += running.kill(kind, rng)
            stopped.set()
            outcomes: Counter[str] = sum((load.result(600) for load in loads), Counter())
        metrics = httpx.get(f"{running.url}/metrics", timeout=120).text
        running.wait_for("Ingress")
        seconds_afterwards = one_by_one(running, pictures[:2])
    retried = [x for x in metrics.splitlines() if x.startswith("mcn_serve_retries_total")]
    return {
        "killed": dict(killed),
        "outcomes": dict(outcomes),
        "retries": float(retried[0].split()[1]) if retried else 0.0,
        "works_afterwards_s": round(max(seconds_afterwards), 2),
    }


def direct(folder: Path, threads: int, core: Path | None = None) -> dict[str, Any]:
    """Run the same models in a separate process."""
    core = core or folder / "core"
    done = subprocess.run(
        [sys.executable, __file__, "--direct", str(core), str(threads), "2"],
        capture_output=True,
        text=True,
        timeout=3600,
        check=True,
    )
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _direct(core: str, threads: str, rounds: str) -> dict[str, Any]:
    import torch

    from mcn.analyzer import Analyzer
    from mcn.classify import load_classifier
    from mcn.micrograph import decode_micrograph
    from mcn.segment import load_segmenter

    torch.set_num_threads(int(threads))
    analyzer = Analyzer(load_segmenter(), load_classifier())
    data = [path.read_bytes() for path in tiles_of(Path(core))]

    def analyze(image: bytes) -> float:
        started = time.perf_counter()
        analyzer.analyze([decode_micrograph(image, "image")])
        return time.perf_counter() - started

    analyze(data[0])
    runs = [[analyze(image) for image in data] for _ in range(int(rounds))]
    seconds = [min(times) for times in zip(*runs, strict=True)]
    rate = len(data) * len(runs) / sum(map(sum, runs))
    return {"seconds": seconds, "pictures_per_second": round(rate, 3)}


def render(folder: Path, pictures: int) -> list[Path]:
    """Render a core and return its tiles."""
    from mcn.synthetic.core import render_core

    say(f"rendering {pictures} tiles")
    render_core(folder / "core", 3, pictures, 7, workers=os.cpu_count() or 1)
    return tiles_of(folder / "core")


def tiles_of(core: Path) -> list[Path]:
    return sorted(core.glob("well=*/depth=*/*.tif"))


def _draw(samples: Sequence[tuple[float, int, int]], path: Path) -> None:
    from matplotlib.figure import Figure

    times, clients, replicas = zip(*samples, strict=True)
    figure = Figure(figsize=(8, 3.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.step(times, clients, where="post", color="#8a93a6", label="clients")
    axes.step(times, replicas, where="post", color="#D55E9B", linewidth=2, label="segmenters")
    axes.set_xlabel("seconds")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
