"""A Ray head as the operator starts it: with a token and the job server."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..ports import free_ports
from ..waiting import DEADLINE_S, wait_until
from .manifests import REPOSITORY


@dataclass(frozen=True)
class Head:
    """A running head.

    Parameters
    ----------
    dashboard, agent : str
        Addresses of its job server and its health checks.
    token : str
    environment : mapping of str to str
        Of its container, without the token.
    """

    dashboard: str
    agent: str
    token: str
    environment: Mapping[str, str]

    def shell(
        self, script: str, token: str | None, seconds: float = DEADLINE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script as a pod beside the head; without a token, as a stranger."""
        mode = {"RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
        return subprocess.run(
            ["bash", "-ce", "--", script],
            env={**self.environment, **mode},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def submit(self, entrypoint: str, token: str | None) -> subprocess.CompletedProcess[str]:
        """Submit a job with the command of the operator's submitter."""
        return self.shell(f"ray job submit --address {self.dashboard} -- {entrypoint} ;", token)

    def jobs(self) -> list[str]:
        """Every accepted job."""
        headers = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(f"{self.dashboard}/api/jobs/", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return sorted(str(job["submission_id"]) for job in json.load(answer))


def status(address: str, token: str | None = None) -> int:
    """HTTP status of a response, 0 without one."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@contextmanager
def ray_head(home: Path, settings: Mapping[str, str], cpus: int) -> Iterator[Head]:
    """Start a head with settings in its environment; at the end, stop all that it started."""
    token = secrets.token_hex(16)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        # This home holds no token.
        "HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        **settings,
    }
    # Not below pytest's folder: the path of a socket is limited to about a hundred characters.
    sessions = f"/tmp/mcn-{token[:8]}"
    ports = free_ports(7)
    names = (
        "port",
        "dashboard-port",
        "dashboard-agent-listen-port",
        "dashboard-agent-grpc-port",
        "ray-client-server-port",
        "metrics-export-port",
        "runtime-env-agent-port",
    )
    command = [
        *("ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1"),
        *("--dashboard-host=127.0.0.1", f"--num-cpus={cpus}", "--num-gpus=0"),
        *("--object-store-memory=500000000", "--disable-usage-stats"),
        # This one node stands for those of every group.
        "--labels=mcn/machines=lasting",
        *(f"--{name}={port}" for name, port in zip(names, ports, strict=True)),
        f"--temp-dir={sessions}",
    ]
    log = home / "ray-start.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            env={**environment, "RAY_AUTH_TOKEN": token},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    dashboard, agent = (f"http://127.0.0.1:{port}" for port in ports[1:3])
    head = Head(dashboard, agent, token, environment)
    try:
        _wait_for(head, process, log)
        yield head
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(DEADLINE_S)
        # Processes of the head end a moment later and write until then.
        wait_until(lambda: _removed(sessions), "the processes of the head end")


def _wait_for(head: Head, process: subprocess.Popen[bytes], log: Path) -> None:
    try:
        wait_until(
            lambda: status(f"{head.dashboard}/api/jobs/", head.token) == 200,
            "the dashboard answers",
            process,
        )
    except AssertionError as error:
        raise AssertionError(f"ray start: {log.read_text()[-2000:]}") from error


def _removed(folder: str) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not os.path.exists(folder)


def last_object(text: str) -> dict[str, object]:
    """The last JSON object on its own line in a job's log."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    parsed: dict[str, object] = json.loads(lines[-1])
    return parsed
