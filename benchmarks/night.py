"""A bad night: random faults at once under a scan and an endpoint with clients.

A Ray cluster of three nodes scans a growing core from an object store into a catalogue there,
again and again, while clients use an endpoint on the same cluster. Every few seconds a fault
begins, and several last at the same time. Afterwards, in quiet, the scan is run once more, and
its catalogue must equal that of a scan without faults: nothing lost, nothing twice. Every request
must have ended in a result, the same as in quiet, or in a problem document. Part of `make chaos`;
see `chaos.py`.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from chaos import add_node, content, draw_core, finish, workers

ROOT = Path(__file__).parents[1]
TILES, MORE_TILES = 48, 16
CLIENTS = 3
PAUSE_S = (2.0, 7.0)
"""Time between the starts of two faults."""
LASTING_S = (3.0, 12.0)
LONGEST_REQUEST_S = 240.0
WAIT_S = 300.0
TOKEN = secrets.token_hex(16)
REPLICAS = ("Segmenter", "Classifier", "Ingress", "CatalogReader")


@dataclass
class Night:
    """What runs, and what has happened to it."""

    folder: Path
    disk: Path
    rng: random.Random
    cluster: Any
    store: str
    proxy: str
    storage: Any
    url: str
    redis: Redis | None
    over: threading.Event = field(default_factory=threading.Event)
    done: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    scans: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    tiles: int = TILES
    scan: subprocess.Popen[str] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lasts(self) -> None:
        """Wait for as long as a fault lasts."""
        self.over.wait(self.rng.uniform(*LASTING_S))


def bad_night(seconds: float, rng: random.Random) -> dict[str, Any]:
    """Run the night; `wrong` has everything that should not have happened."""
    sys.path.append(str(ROOT))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcn-night-")))
        night = stack.enter_context(_everything(folder, rng, stack))
        expected = _crystals_of_picture(night)
        threads = [threading.Thread(target=_scan_until_over, args=(night,))]
        threads += [
            threading.Thread(target=_request_until_over, args=(night, expected, number))
            for number in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        _break_things(night, seconds)
        night.over.set()
        for thread in threads:
            thread.join(WAIT_S)
            if thread.is_alive():
                night.wrong.append("a scan or a client did not end")
        _compare(night)
        return {
            "seconds": seconds,
            "faults": dict(night.done),
            "storage_faults": dict(night.storage.done),
            "not_at_hand": sorted(set(FAULTS) - set(_possible(night))),
            "requests": dict(night.requests),
            "scans": dict(night.scans),
            "tiles": night.tiles,
            "wrong": night.wrong,
        }


# --- faults; each lasts for some seconds, or leaves something to recover from


def _storage_fails(night: Night) -> None:
    night.storage.share = night.rng.uniform(0.2, 0.8)
    night.lasts()
    night.storage.share = 0.0


def _storage_is_gone(night: Night) -> None:
    kinds, night.storage.kinds = night.storage.kinds, ("reset",)
    night.storage.share = 1.0
    night.lasts()
    night.storage.kinds, night.storage.share = kinds, 0.0


def _catalogue_is_moved(night: Night) -> None:
    night.storage.missing_bucket = "catalog"
    night.lasts()
    night.storage.missing_bucket = None


def _scan_worker_dies(night: Night) -> None:
    _kill_one(night, workers(night.cluster))


def _scan_is_killed(night: Night) -> None:
    if night.scan is not None:
        night.scan.kill()


def _replica_dies(night: Night) -> None:
    kind = night.rng.choice(REPLICAS)
    _kill_one(night, workers(night.cluster, (f"ray::ServeReplica:mcn:{kind}",)))
    night.done[f"  {kind} died"] += 1


def _node_dies(night: Night) -> None:
    with night.lock:
        node = night.rng.choice(sorted(night.cluster.worker_nodes, key=lambda node: node.node_id))
        night.cluster.remove_node(node, allow_graceful=False)
        night.lasts()
        add_node(night.cluster)


def _disk_is_full(night: Night) -> None:
    filler = night.disk / "filler"
    with suppress(OSError), filler.open("wb") as out:
        while not night.over.is_set():
            out.write(bytes(2**20))
    night.lasts()
    filler.unlink(missing_ok=True)


def _clock_jumps(night: Night) -> None:
    clock = night.folder / "clock"
    clock.write_text(f"{night.rng.choice((-7200, -60, 60, 7200)):+d}")
    night.lasts()
    clock.write_text("+0")


def _memory_is_short(night: Night) -> None:
    """Something takes memory, and the largest process is ended, as in a container."""
    hog = subprocess.Popen(
        [sys.executable, "-c", "import time; a = bytearray(b'1') * (3 * 2**29); time.sleep(60)"]
    )
    try:
        night.over.wait(2)
        names = ("ray::MapWorker", *(f"ray::ServeReplica:mcn:{kind}" for kind in REPLICAS))
        largest: list[tuple[int, int]] = []
        for pid in workers(night.cluster, names):
            with suppress(psutil.Error):
                largest.append((psutil.Process(pid).memory_info().rss, pid))
        if largest:
            with suppress(ProcessLookupError):
                os.kill(max(largest)[1], signal.SIGKILL)
    finally:
        hog.kill()
        hog.wait(WAIT_S)


def _redis_is_gone(night: Night) -> None:
    assert night.redis is not None
    night.redis.stop()
    night.lasts()
    night.redis.start()


FAULTS: dict[str, Callable[[Night], None]] = {
    "storage fails": _storage_fails,
    "storage is gone": _storage_is_gone,
    "catalogue is moved": _catalogue_is_moved,
    "scan worker dies": _scan_worker_dies,
    "scan is killed": _scan_is_killed,
    "replica dies": _replica_dies,
    "node dies": _node_dies,
    "disk is full": _disk_is_full,
    "clock jumps": _clock_jumps,
    "memory is short": _memory_is_short,
    "redis is gone": _redis_is_gone,
}


def _possible(night: Night) -> list[str]:
    """The faults that this machine allows."""
    missing = {
        "disk is full": not os.path.ismount(night.disk),
        "redis is gone": night.redis is None,
    }
    return [name for name in FAULTS if not missing.get(name)]


def _break_things(night: Night, seconds: float) -> None:
    """Start a fault every few seconds; a kind is not started again while it lasts."""
    until = time.monotonic() + seconds
    lasting: dict[str, threading.Thread] = {}
    while time.monotonic() < until:
        free = [name for name in _possible(night) if name not in lasting]
        if free:
            name = night.rng.choice(free)
            night.done[name] += 1
            print(f"{until - time.monotonic():4.0f} s left: {name}", file=sys.stderr, flush=True)
            lasting[name] = threading.Thread(target=FAULTS[name], args=(night,))
            lasting[name].start()
        time.sleep(night.rng.uniform(*PAUSE_S))
        lasting = {name: thread for name, thread in lasting.items() if thread.is_alive()}
    for thread in lasting.values():
        thread.join(WAIT_S)


def _kill_one(night: Night, pids: list[int]) -> None:
    if pids:
        with suppress(ProcessLookupError):
            os.kill(night.rng.choice(pids), signal.SIGKILL)


# --- work


def _scan_until_over(night: Night) -> None:
    while not night.over.is_set():
        night.scan = _start_scan(night, "catalog")
        try:
            summary = finish(night.scan)
        except subprocess.TimeoutExpired:
            night.wrong.append("a scan hung")
            night.scan.kill()
            continue
        night.scans["completed" if summary else "ended early"] += 1
        if summary and summary["tiles_failed"] == 0 and not night.over.is_set():
            _upload(night, night.tiles + MORE_TILES)


def _request_until_over(night: Night, expected: int, number: int) -> None:
    picture = (night.folder / "picture.png").read_bytes()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    routes = ("/v1/wells", "/v1/crystals?limit=5") if number == 0 else ("/v1/analyze?masks=none",)
    with httpx.Client(base_url=night.url, headers=headers, timeout=LONGEST_REQUEST_S) as client:
        while not night.over.is_set():
            for route in routes:
                try:
                    if "analyze" in route:
                        kind = {"Content-Type": "image/png"}
                        answer = client.post(route, content=picture, headers=kind)
                    else:
                        answer = client.get(route)
                except httpx.HTTPError as error:
                    _count(night, f"{route.partition('?')[0]} {type(error).__name__}", wrong=True)
                    continue
                _judge(night, route, answer, expected)
            night.over.wait(0.2)


def _judge(night: Night, route: str, answer: httpx.Response, expected: int) -> None:
    name = f"{route.partition('?')[0]} {answer.status_code}"
    if answer.status_code == 200:
        same = "analyze" not in route or len(answer.json()["crystals"]) == expected
        _count(night, name if same else f"{name} with another result", wrong=not same)
    else:
        clean = answer.headers.get("content-type", "").startswith("application/problem+json")
        _count(night, name if clean else f"{name} not a problem: {answer.text[:60]}", not clean)


def _count(night: Night, name: str, wrong: bool) -> None:
    night.requests[name] += 1
    if wrong and name not in night.wrong:
        night.wrong.append(name)


def _start_scan(night: Night, catalog: str, again: str = "again") -> subprocess.Popen[str]:
    script = str(Path(__file__).with_name("chaos.py"))
    return subprocess.Popen(
        [
            sys.executable,
            script,
            "--drive",
            "s3://tiles/core",
            f"s3://catalog/{catalog}",
            "",
            again,
        ],
        env={
            **os.environ,
            "RAY_ADDRESS": night.cluster.address,
            "MCN_CHAOS_CLOCK": str(night.folder / "clock"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _upload(night: Night, tiles: int) -> None:
    """Add tiles to the core in the store, past the proxy."""
    import boto3

    client = boto3.client("s3", endpoint_url=night.store)
    root = night.folder / f"core-{tiles}"
    draw_core(root, tiles)
    for path in root.rglob("*.png"):
        if int(path.stem) >= (night.tiles if tiles > TILES else 0):
            well = f"well={'ABC'[int(path.stem) % 3]}"
            key = f"core/{well}/{path.parent.name}/{path.name}"
            client.put_object(Bucket="tiles", Key=key, Body=path.read_bytes())
    shutil.rmtree(root)
    night.tiles = tiles


def _compare(night: Night) -> None:
    """Scan once more in quiet, and compare with a scan that had no faults."""
    for catalog in ("catalog", "calm"):
        summary = finish(_start_scan(night, catalog), must=True)
        night.scans[f"in quiet: tiles of {catalog}"] = summary["tiles_ok"] if summary else 0
    after, calm = (content(_download(night, name)) for name in ("catalog", "calm"))
    if not calm["crystals"]:
        night.wrong.append("the quiet scan found nothing")
    for name in ("crystals", "tiles", "crystals_seen"):
        if after[name] != calm[name]:
            night.wrong.append(f"{name} differ from those of a quiet scan")
    lost = calm["crystals"].keys() - after["crystals"].keys()
    extra = after["crystals"].keys() - calm["crystals"].keys()
    if lost or extra:
        night.wrong.append(f"{len(lost)} crystals lost, {len(extra)} too many")
    night.wrong += [f"verify: {problem}" for problem in after["problems"]]


def _download(night: Night, catalog: str) -> Path:
    import boto3

    client = boto3.client("s3", endpoint_url=night.store)
    root = night.folder / "copy" / catalog
    for page in client.get_paginator("list_objects_v2").paginate(
        Bucket="catalog", Prefix=f"{catalog}/"
    ):
        for entry in page.get("Contents", ()):
            path = root / entry["Key"].removeprefix(f"{catalog}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.get_object(Bucket="catalog", Key=entry["Key"])["Body"].read())
    return root


def _crystals_of_picture(night: Night) -> int:
    """Crystals in the clients' picture, before anything is broken."""
    answer = httpx.post(
        f"{night.url}/v1/analyze?masks=none",
        content=(night.folder / "picture.png").read_bytes(),
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/png"},
        timeout=LONGEST_REQUEST_S,
    )
    return len(answer.raise_for_status().json()["crystals"])


# --- what runs


class Redis:
    """A Redis server that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        self._folder = folder
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(WAIT_S)


@contextmanager
def _everything(folder: Path, rng: random.Random, stack: ExitStack) -> Iterator[Night]:
    """Store, proxy, cluster, endpoint and the clients' picture."""
    from moto.server import ThreadedMotoServer

    from tests.fault_proxy import fault_proxy

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    stack.callback(server.stop)
    store = "http://{}:{}".format(*server.get_host_and_port())
    proxy, storage = stack.enter_context(fault_proxy(store, share=0.0))
    storage.kinds = ("slow down", "stall", "reset", "lost answer", "cut short")
    disk = stack.enter_context(_small_disk())
    os.environ |= {
        "AWS_ENDPOINT_URL": proxy,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "mcn",
        "AWS_SECRET_ACCESS_KEY": "night",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "TMPDIR": str(disk),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    can_count = importlib.util.find_spec("redis") or importlib.util.find_spec("coredis")
    redis = Redis(folder) if can_count and shutil.which("redis-server") else None
    if redis is not None:
        stack.callback(redis.stop)
    small = {"num_cpus": 2, "object_store_memory": 128 * 2**20}
    sessions = disk / "ray"
    sessions.mkdir()
    cluster = _start_cluster({**small, "temp_dir": str(sessions)})
    stack.callback(cluster.shutdown)
    for _ in range(2):
        add_node(cluster)
    url = f"http://127.0.0.1:{_free_port()}"
    night = Night(folder, disk, rng, cluster, store, proxy, storage, url, redis)
    (folder / "clock").write_text("+0")
    _prepare(night)
    with _endpoint(night):
        yield night


def _start_cluster(head: dict[str, Any]) -> Any:
    """Start the head; again if this machine is too busy for Ray's 30 seconds."""
    from ray.cluster_utils import Cluster

    for last in (False, False, True):
        cluster = Cluster()
        try:
            cluster.add_node(**head)
        except Exception as error:  # Ray has no class for it
            if last or "timed out during startup" not in str(error):
                raise
            continue
        break
    return cluster


def _prepare(night: Night) -> None:
    """The core, a first catalogue, and the clients' picture."""
    import boto3

    from mcn.synthetic.core import CoreSettings, render_core

    client = boto3.client("s3", endpoint_url=night.store)
    for bucket in ("tiles", "catalog"):
        client.create_bucket(Bucket=bucket)
    _upload(night, TILES)
    finish(_start_scan(night, "catalog"), must=True)
    render_core(night.folder / "p", 1, 1, settings=CoreSettings(height=192, width=256))
    from PIL import Image

    (tile,) = (night.folder / "p").rglob("*.tif")
    Image.open(tile).convert("L").save(night.folder / "picture.png")


@contextmanager
def _endpoint(night: Night) -> Iterator[None]:
    settings = ["requests_a_minute = 1000000", "requests_a_day = 10000000"]
    if night.redis is not None:
        settings.append(f'counts = "async+redis://127.0.0.1:{night.redis.port}"')
    settings += ["[segmenters]", "least = 2", "most = 2", "ongoing = 1", "queued = 2", "cpus = 0.5"]
    (night.folder / "serve.toml").write_text("\n".join(settings))
    log = (night.folder / "serve.log").open("w")
    process = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("mcn")), "serve"),
            *("--catalog", "s3://catalog/catalog", "--port", night.url.rpartition(":")[2]),
            *("--config", str(night.folder / "serve.toml")),
        ],
        env={**os.environ, "RAY_ADDRESS": night.cluster.address, "MCN_TOKEN": TOKEN},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        until = time.monotonic() + WAIT_S
        while "ready at" not in (text := (night.folder / "serve.log").read_text()):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the endpoint did not start: {text[-3000:]}")
            time.sleep(0.2)
        yield
        if process.poll() is not None:
            night.wrong.append(f"the endpoint ended with {process.returncode}")
    finally:
        process.terminate()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


@contextmanager
def _small_disk() -> Iterator[Path]:
    """A disk of one gigabyte, where this user may mount one; else a folder."""
    disk = Path(tempfile.mkdtemp(prefix="n"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1g", "night", str(disk)], timeout=WAIT_S, check=False
    )
    try:
        yield disk
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(disk)], timeout=WAIT_S, check=False)
        shutil.rmtree(disk, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


if __name__ == "__main__":
    print(json.dumps(bad_night(float(sys.argv[1]), random.Random(0)), indent=1))
