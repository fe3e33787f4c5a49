"""One endpoint for all tests, started as a user would, for a scanned core."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from serve.tokens import add_token

from ..waiting import DEADLINE_S, wait_until

MCN = Path(sys.executable).with_name("mcn")


@dataclass(frozen=True)
class Endpoint:
    """A running endpoint, and the values it was started with."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    tokens: dict[str, str] = field(default_factory=dict)

    def client(self, token: str = "lab") -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[token]}"} if token in self.tokens else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=DEADLINE_S)

    def replicas(self, kind: str) -> list[int]:
        """Process ids of a deployment's replicas."""
        process_ids = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if f"ServeReplica:mcn:{kind}" in " ".join(process.cmdline()):
                    process_ids.append(process.pid)
            except psutil.Error:
                continue
        return process_ids

    def cluster(self) -> str:
        """Address of the endpoint's Ray cluster; there may be others on this machine."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            for word in process.cmdline():
                if word.startswith("--gcs-address="):
                    return word.partition("=")[2]
        raise AssertionError("it has no cluster")

    def wait_until_ready(self) -> None:
        try:
            wait_until(self._is_ready, "the endpoint is ready", self.process)
        except AssertionError as error:
            pytest.fail(f"{error}: {self.log.read_text()[-3000:]}")

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=60).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def serving(
    folder: Path,
    *arguments: str,
    tokens: dict[str, str] | None = None,
    until_it_says_so: bool = True,
) -> Iterator[Endpoint]:
    """Run `mcn serve` with the given arguments, and wait until it is ready, and says so."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "serve.log"
    environ = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(MCN), "serve", "--port", str(port), *arguments],
            env=environ,
            stdout=file,
            stderr=file,
        )
    endpoint = Endpoint(f"http://127.0.0.1:{port}", process, log, tokens or {})
    try:
        endpoint.wait_until_ready()
        if until_it_says_so:
            wait_until(
                lambda: b"ready at" in log.read_bytes(), "the endpoint prints its address", process
            )
        yield endpoint
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0
        assert b"(raylet)" not in log.read_bytes(), "Ray's own messages mean nothing to a user"


@pytest.fixture(scope="session")
def tile(scanned: Path) -> Path:
    """A tile of the scanned core."""
    return sorted(scanned.glob("core/well=*/depth=*/*.tif"))[0]


@pytest.fixture(scope="package")  # an idle endpoint takes half a core from other tests
def endpoint(scanned: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An endpoint that requires tokens, with tokens of several kinds."""
    folder = tmp_path_factory.mktemp("endpoint")
    file = folder / "tokens.json"
    tokens = {
        "lab": add_token(file, "lab", ["read", "analyze", "correct"]),
        "reader": add_token(file, "reader", ["read"]),
        "analyst": add_token(file, "analyst", ["analyze"]),
        "operator": add_token(file, "operator", ["admin"]),
        "expired": add_token(
            file, "expired", ["read", "analyze", "admin"], datetime(2020, 1, 1, tzinfo=UTC)
        ),
        "unknown": "mcn_" + "x" * 43,
    }
    config = folder / "serve.toml"
    config.write_text(
        "requests_a_minute = 100000\nmax_megabytes = 8\nmax_megapixels = 4\nupload_seconds = 8\n"
        "refresh_seconds = 0.2\n[segmenters]\nleast = 1\nmost = 1\nqueued = 3\n"
    )
    with serving(
        folder,
        "--catalog", str(scanned / "catalog"), "--tokens", str(file), "--config", str(config),
        tokens=tokens,
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def lab(endpoint: Endpoint) -> Iterator[httpx.Client]:
    """A client with the scopes `read` and `analyze`."""
    with endpoint.client() as client:
        yield client
