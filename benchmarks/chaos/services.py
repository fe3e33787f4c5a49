"""What runs in a bad night: a store behind a proxy, Redis, a small disk, a cluster, an endpoint."""

from __future__ import annotations

import logging
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fault_proxy import Faults, fault_proxy
from tests.ports import free_port

from .cluster import start_cluster

NODES = 3
WAIT_S = 300.0
TOKEN = secrets.token_hex(16)
TILES_URI, CATALOG_URI = "s3://tiles/core", "s3://catalog/catalog"
DISK_SIZE = "1g"


class Redis:
    """A Redis server that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
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


@dataclass
class NightServices:
    """What runs, and where."""

    folder: Path
    disk: Path
    store: str
    storage: Faults
    redis: Redis | None
    cluster: Any
    url: str

    @property
    def clock(self) -> Path:
        """File of the seconds that the clock of scans is off."""
        return self.folder / "clock"

    @property
    def bucket(self) -> Any:
        """A client of the store that no fault reaches."""
        import boto3

        return boto3.client("s3", endpoint_url=self.store)


@dataclass
class Night:
    """A bad night: what runs, and what has happened to it."""

    services: NightServices
    rng: random.Random
    over: threading.Event = field(default_factory=threading.Event)
    faults: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    scans: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    tiles: int = 0
    nodes_to_add: int = 0
    scan: subprocess.Popen[str] | None = None

    def complain(self, message: str) -> None:
        """Note, once, what should not have happened."""
        if message not in self.wrong:
            print(f"wrong: {message}", file=sys.stderr, flush=True)
            self.wrong.append(message)


@contextmanager
def running_services() -> Iterator[NightServices]:
    """Start everything but the endpoint; what was started is ended afterwards."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcn-night-")))
        server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        stack.callback(server.stop)
        store = "http://{}:{}".format(*server.get_host_and_port())
        proxy, storage = stack.enter_context(fault_proxy(store, share=0.0))
        storage.kinds = ("slow down", "stall", "reset", "lost answer", "cut short")
        disk = stack.enter_context(small_disk())
        os.environ |= {
            "AWS_ENDPOINT_URL": proxy,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "mcn",
            "AWS_SECRET_ACCESS_KEY": "night",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "TMPDIR": str(disk),
            "OMP_NUM_THREADS": "1",
        }
        redis = Redis(folder) if shutil.which("redis-server") else None
        if redis is not None:
            stack.callback(redis.stop)
        sessions = disk / "ray"
        sessions.mkdir()
        cluster = start_cluster(NODES, num_cpus=2, temp_dir=str(sessions))
        stack.callback(cluster.shutdown)
        url = f"http://127.0.0.1:{free_port()}"
        services = NightServices(folder, disk, store, storage, redis, cluster, url)
        services.clock.write_text("+0")
        for bucket in ("tiles", "catalog"):
            services.bucket.create_bucket(Bucket=bucket)
        yield services


@contextmanager
def running_endpoint(night: Night) -> Iterator[None]:
    """Start the endpoint on the cluster, and note if it ends by itself."""
    services = night.services
    settings = ["requests_a_minute = 1000000", "requests_a_day = 10000000"]
    if services.redis is not None:
        settings.append(f'counts = "async+redis://127.0.0.1:{services.redis.port}"')
    settings += ["[segmenters]", "least = 2", "most = 2", "ongoing = 1", "queued = 2", "cpus = 0.5"]
    config, log = services.folder / "serve.toml", services.folder / "serve.log"
    config.write_text("\n".join(settings))
    with log.open("w") as out:
        process = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("mcn")), "serve", "--catalog", CATALOG_URI),
                *("--port", services.url.rpartition(":")[2], "--config", str(config)),
            ],
            env={**os.environ, "RAY_ADDRESS": services.cluster.address, "MCN_TOKEN": TOKEN},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + WAIT_S
        while "ready at" not in log.read_text():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the endpoint did not start: {log.read_text()[-3000:]}")
            time.sleep(0.2)
        yield
        if process.poll() is not None:
            night.complain(f"the endpoint ended: {log.read_text()[-500:]}")
        else:
            process.terminate()
            if process.wait(WAIT_S) != 0:
                night.complain(f"the endpoint did not stop cleanly: {log.read_text()[-500:]}")
    finally:
        process.kill()
        process.wait(WAIT_S)


@contextmanager
def small_disk() -> Iterator[Path]:
    """A small disk, where this user may mount one; else a folder."""
    disk = Path(tempfile.mkdtemp(prefix="n"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "night", str(disk)],
        stderr=subprocess.DEVNULL,
        timeout=WAIT_S,
        check=False,
    )
    try:
        yield disk
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(disk)], timeout=WAIT_S, check=False)
        shutil.rmtree(disk, ignore_errors=True)
