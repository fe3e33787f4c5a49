"""A Ray cluster of several nodes on this machine, of which parts can be killed."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from typing import Any

import psutil

SCAN_ACTORS = ("ray::MapWorker", "ray::AttemptLog", "ray::ReadTiles")
STORE_BYTES = 128 * 2**20


def start_cluster(nodes: int, **head: Any) -> Any:
    """Start a head and further nodes."""
    # As in clusters that the commands start.
    os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    add_node(cluster, include_dashboard=False, **head)
    for _ in range(nodes - 1):
        add_node(cluster)
    return cluster


def add_node(cluster: Any, **settings: Any) -> None:
    """Start a node; again if this machine is too busy for Ray's 30 seconds."""
    for last in (False, False, True):
        try:
            cluster.add_node(**{"num_cpus": 1, "object_store_memory": STORE_BYTES, **settings})
        except Exception as error:  # Ray has no class for it
            if last or "timed out during startup" not in str(error):
                raise
            continue
        break


def kill_node(cluster: Any, rng: random.Random) -> None:
    """End a node that is not the head, as a machine that loses its power."""
    node = rng.choice(sorted(cluster.worker_nodes, key=lambda node: node.node_id))
    cluster.remove_node(node, allow_graceful=False)


def kill_one(pids: list[int], rng: random.Random) -> bool:
    """Kill one of these processes; False if there was none."""
    if not pids:
        return False
    try:
        os.kill(rng.choice(pids), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def actors(cluster: Any, kinds: tuple[str, ...] = SCAN_ACTORS) -> list[int]:
    """Process ids of Ray actors on this cluster's nodes: of a scan, or those with these names."""
    pids = []
    for node in cluster.list_all_nodes():
        try:
            raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
            workers = raylet.children(recursive=True)
        except (psutil.NoSuchProcess, KeyError):  # The node is being ended.
            continue
        for worker in workers:
            with suppress(psutil.Error):
                if "".join(worker.cmdline()).startswith(kinds):
                    pids.append(worker.pid)
    return sorted(pids)
