"""The launcher's cluster on this machine: Ray nodes that pretend to be its kinds of machines."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import ray
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
)

from ..ports import free_ports
from ..programs import program
from ..waiting import DEADLINE_S, wait_until

_COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "rsync_exclude",
    "rsync_filter",
)


@contextmanager
def pretended_cluster(launcher: Mapping[str, Any], folder: Path) -> Iterator[dict[str, str]]:
    """Start the head of a launcher's file, which scales as the file says; gives the environment.

    Ray's own autoscaler starts and ends the nodes. What the cluster started is ended with it.
    """
    port, *ports = free_ports(7)
    address = f"{ray.util.get_node_ip_address()}:{port}"
    kinds = dict(launcher["available_node_types"])
    head = kinds.pop(launcher["head_node_type"])["resources"]
    configuration = {
        **{key: launcher[key] for key in ("cluster_name", "max_workers", "upscaling_speed")},
        "idle_timeout_minutes": launcher["idle_timeout_minutes"],
        "provider": {
            # As a provider of our own: Ray's wheel lacks the defaults of the type `fake_multinode`.
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
            "disable_launch_config_check": True,
            "disable_node_updaters": True,
        },
        # Nothing is installed on pretended machines.
        **{key: [] for key in _COMMANDS},
        **{key: {} for key in ("auth", "docker", "file_mounts")},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        "available_node_types": {
            FAKE_HEAD_NODE_TYPE: {"resources": head, "node_config": {}, "max_workers": 0},
            **{name: {**kind, "node_config": {}} for name, kind in kinds.items()},
        },
    }
    file = folder / "autoscaling.json"
    file.write_text(json.dumps(configuration))
    # The path of a socket is limited to about a hundred characters.
    with TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as sessions:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HOME": str(folder),
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "OMP_NUM_THREADS": "1",
        }
        names = ("dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port")
        names += ("ray-client-server-port", "metrics-export-port", "runtime-env-agent-port")
        options = [f"--{name}={number}" for name, number in zip(names, ports, strict=True)]
        log = folder / "ray-start.log"
        command = [
            *(program("ray", "make setup"), "start", "--head", "--block"),
            *(f"--port={port}", f"--temp-dir={sessions}"),
            *(f"--num-cpus={head['CPU']}", "--num-gpus=0", "--include-dashboard=false"),
            *("--object-store-memory=200000000", "--disable-usage-stats"),
            *(f"--autoscaling-config={file}", *options),
        ]
        process = _start(command, environment, log, sessions)
        try:
            used = ("PATH", "PYTHONPATH", "HOME", "OMP_NUM_THREADS", "RAY_USAGE_STATS_ENABLED")
            joined = {name: environment[name] for name in used}
            yield {**joined, "RAY_ADDRESS": address}
        finally:
            _end(process, sessions)


def _start(
    command: list[str], environment: dict[str, str], log: Path, sessions: str
) -> "subprocess.Popen[bytes]":
    """Start the head; again if this machine is too busy for Ray's 30 seconds."""
    for last in (False, False, True):
        with log.open("w") as out:
            head = subprocess.Popen(
                command,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(lambda: "--block" in log.read_text(), f"Ray starts: see {log}", head)
        except AssertionError:
            if last or "timed out during startup" not in log.read_text():
                raise
            _end(head, sessions)
            continue
        break
    return head


def _end(process: "subprocess.Popen[bytes]", sessions: str) -> None:
    for each in _processes(process, sessions):
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait(DEADLINE_S)


def _processes(head: "subprocess.Popen[bytes]", sessions: str) -> list[psutil.Process]:
    """All that a cluster started: below its first process, or with its folder in their command."""
    started = {}
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(head.pid).children(recursive=True)
        started = {process.pid: process for process in children}
    for process in psutil.process_iter(["cmdline"]):
        if sessions in " ".join(process.info["cmdline"] or ()):
            started[process.pid] = process
    head.send_signal(signal.SIGKILL)
    return list(started.values())
