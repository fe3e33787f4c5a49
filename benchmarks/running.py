"""Start an endpoint in its own processes, as a user does, to measure it."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psutil


def wait_until(happened: Callable[[], bool], what: str, seconds: float = 600.0) -> None:
    """Wait until a condition is true."""
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.2)


@dataclass(frozen=True)
class Running:
    """An endpoint that runs in its own processes."""

    url: str
    process: psutil.Process
    ready_at: float = 0.0

    def family(self, name: str = "") -> list[psutil.Process]:
        """Its processes with this name in their title."""
        processes = []
        for process in self.process.children(recursive=True):
            try:
                if name in " ".join(process.cmdline()):
                    processes.append(process)
            except psutil.Error:
                continue
        return processes

    def replicas(self, kind: str) -> int:
        """Number of running replicas."""
        return len({p.pid for p in self.family(f"ServeReplica:mcn:{kind}")})

    def memory_mib(self) -> int:
        """Memory of all its processes."""
        return sum(self.memory_by_process().values())

    def memory_by_process(self) -> dict[str, int]:
        """Memory that each kind of process has for itself, MiB, the largest first."""
        sizes: Counter[str] = Counter()
        for process in (self.process, *self.family()):
            try:
                title = process.cmdline()
                script = next((word for word in title if word.endswith(".py")), title[0])
                sizes[Path(script.partition(" ")[0]).name[:60]] += round(
                    process.memory_full_info().uss / 2**20
                )
            except (psutil.Error, IndexError):
                continue
        return dict(sizes.most_common())

    def ports(self) -> list[str]:
        """Addresses on which its processes listen."""
        found = set()
        for process in (self.process, *self.family()):
            try:
                for connection in process.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN:
                        title = process.cmdline()[0].partition(" ")[0]
                        found.add(f"{connection.laddr.ip} {Path(title).name}")
            except (psutil.Error, IndexError):
                continue
        return sorted(found)

    def kill(self, kind: str, rng: random.Random) -> int:
        """Kill one replica of a kind; returns the number killed, 0 or 1."""
        processes = self.family(f"ServeReplica:mcn:{kind}")
        if not processes:
            return 0
        os.kill(rng.choice(processes).pid, signal.SIGKILL)
        return 1

    def wait_for(self, kind: str) -> None:
        """Wait until there is a replica of a kind and the endpoint responds."""
        wait_until(lambda: self.is_ready() and self.replicas(kind) > 0, f"a {kind} is there")

    def is_ready(self) -> bool:
        """Whether it responds."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=60).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def endpoint(
    folder: Path, cores: int | None = None, catalog: Path | None = None, **segmenters: Any
) -> Iterator[Running]:
    """Run `mcn serve` with these segmenter replicas, and yield it when it is ready."""
    segmenters = {"least": segmenters.get("most", 1), **segmenters}
    settings = {"segmenters": segmenters}
    config = folder / "serve.toml"
    config.write_text(
        "\n".join(
            f"[{table}]\n" + "\n".join(f"{name} = {value}" for name, value in values.items())
            for table, values in settings.items()
        )
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    if cores is not None:
        environ["RAY_OVERRIDE_RESOURCES"] = json.dumps({"CPU": cores})
    mcn = Path(sys.executable).with_name("mcn")
    served = () if catalog is None else ("--catalog", str(catalog))
    with (folder / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [
                str(mcn),
                "serve",
                "--insecure",
                "--port",
                str(port),
                "--config",
                str(config),
                *served,
            ],
            env=environ,
            stdout=log,
            stderr=log,
        )
    running = Running(f"http://127.0.0.1:{port}", psutil.Process(process.pid))
    try:
        wait_until(lambda: running.is_ready() or process.poll() is not None, "it is ready")
        if process.poll() is not None:
            raise RuntimeError((folder / "serve.log").read_text()[-2000:])
        running = replace(running, ready_at=time.monotonic())
        running.wait_for("Models")
        least = segmenters["least"]
        wait_until(lambda: running.replicas("Models") >= least, f"{least} segmenters are there")
        time.sleep(2.0)  # The last replica has loaded its model by now.
        yield running
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)
