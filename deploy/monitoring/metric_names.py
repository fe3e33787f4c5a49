"""How the metrics that others tell are called, and how to ask for those that two places tell.

The project's own names are in the tables `METRICS` of `pipelines.monitoring.metrics` and `serve.metrics`;
a test compares every name and label used here with those tables and with Ray's own.
"""

from __future__ import annotations

from typing import Final

RAY: Final = {
    "ray_cluster_active_nodes": "Nodes of the cluster that are alive.",
    "ray_node_cpu_utilization": "Busy share of a node's cores, per cent.",
    "ray_node_gpus_utilization": "Busy share of a node's GPU, per cent.",
    "ray_node_mem_total": "Memory of a node, bytes.",
    "ray_node_mem_used": "Memory in use on a node, bytes.",
    "ray_object_store_available_memory": "Room in a node's object store, bytes.",
    "ray_object_store_used_memory": "Used part of a node's object store, bytes.",
    "ray_serve_autoscaling_target_replicas": "Replicas that there should be.",
    "ray_serve_deployment_replica_healthy": "1 for a replica that is well, 0 for one that is not.",
    "ray_serve_deployment_status": "1 failed to start, 2 unwell, 3 to 5 changing, 6 well.",
    "ray_serve_health_check_failures_total": "Checks that a replica failed; its death is one.",
}
"""Names that Ray exports, as its version in constraints.txt calls them."""

APPLICATION: Final = "mcn"
"""The endpoint's name within Ray Serve."""


def scan_rate(name: str, window: str) -> str:
    """Rate of a scan's counter, from whichever place it is told at.

    A scan tells each metric twice: under its own name on `--metrics-port`, and with `ray_`
    before it through Ray's exporter. Where both are scraped, the union has both.
    """
    return f"(rate({name}[{window}]) or rate(ray_{name}[{window}]))"


def scan_gauge(name: str) -> str:
    """Value of a scan's gauge, from whichever place it is told at."""
    return f"({name} or ray_{name})"
