"""Names of metrics that Ray exports, and queries for metrics that are exported twice.

The names of the project itself are in the tables `METRICS` of `pipelines.monitoring.metrics` and
`serve.metrics`. A test compares every name and label used here with those tables and with Ray.
"""

from __future__ import annotations

from typing import Final

RAY: Final = {
    "ray_cluster_active_nodes": "Nodes of the cluster that are alive.",
    "ray_node_cpu_utilization": "Busy share of a node's cores, per cent.",
    "ray_node_gpus_utilization": "Busy share of a node's GPU, per cent.",
    "ray_node_mem_total": "Memory of a node, bytes.",
    "ray_node_mem_used": "Memory in use on a node, bytes.",
    "ray_object_store_available_memory": "Free space in a node's object store, bytes.",
    "ray_object_store_used_memory": "Used part of a node's object store, bytes.",
    "ray_serve_autoscaling_target_replicas": "Number of replicas that autoscaling aims at.",
    "ray_serve_deployment_replica_healthy": "1 for a healthy replica, 0 for an unhealthy one.",
    "ray_serve_deployment_status": "1 failed to start, 2 unhealthy, 3 to 5 changing, 6 healthy.",
    "ray_serve_health_check_failures_total": "Failed health checks of a replica; its death is one.",
}
"""Names that the version of Ray in constraints.txt exports."""

APPLICATION: Final = "mcn"
"""The endpoint's name within Ray Serve."""


def scan_rate(name: str, window: str) -> str:
    """Rate of a counter of a scan, from either exporter.

    A scan exports each metric twice: under its own name on `--metrics-port`, and with the prefix
    `ray_` through the exporter of Ray. If both are scraped, the union has both.
    """
    return f"(rate({name}[{window}]) or rate(ray_{name}[{window}]))"


def scan_gauge(name: str) -> str:
    """Value of a gauge of a scan, from either exporter."""
    return f"({name} or ray_{name})"
