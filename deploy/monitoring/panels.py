"""Panels of the dashboard, from top to bottom, with their queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deploy.monitoring.metric_names import APPLICATION
from deploy.monitoring.rules import (
    COMMIT_SECONDS,
    FAILED_SHARE,
    GOAL,
    STALE_HOURS,
    WAITING_PICTURES,
    WAITING_TILES,
)

SCAN: Final = 'scan_id=~"$scan"'
"""Selects the shown scans; `$scan` is the variable at the top of the dashboard."""

_DEPLOYMENT: Final = f'application="{APPLICATION}"'
_API_ROUTES: Final = 'route=~"/v1/.*"'


@dataclass(frozen=True)
class Query:
    """One or more lines of a panel.

    Parameters
    ----------
    expr : str
        In PromQL.
    legend : str
        Template for the name of each line.
    only : str
        Condition under which it has data, if not always.
    """

    expr: str
    legend: str
    only: str = ""


@dataclass(frozen=True)
class Panel:
    """A graph of one quantity over time.

    Parameters
    ----------
    title, meaning : str
    unit : str
        A unit name of Grafana.
    queries : tuple of Query
    limit : float, optional
        Threshold of the alert, drawn as a line.
    most : float, optional
        Upper end of the scale.
    """

    title: str
    meaning: str
    unit: str
    queries: tuple[Query, ...]
    limit: float | None = None
    most: float | None = None


def _quantiles(metric: str, by: str) -> tuple[Query, ...]:
    rates = f"sum by (le, {by}) (rate({metric}_bucket[5m]))"
    return tuple(
        Query(f"histogram_quantile({q}, {rates})", f"{{{{{by}}}}} p{round(100 * q)}")
        for q in (0.5, 0.95, 0.99)
    )


SCANS: Final = (
    Panel(
        "Tiles",
        "Tiles committed, by status.",
        "suffix: tiles/s",
        (
            Query(
                f"scan_status:mcn_scan_tiles:rate5m{{{SCAN}}}",
                "{{scan_id}} {{status}}",
            ),
        ),
    ),
    Panel(
        "Failed tiles",
        "Share of the tiles of the last quarter of an hour.",
        "percentunit",
        (Query(f"scan:mcn_scan_failed_tiles:ratio_rate15m{{{SCAN}}}", "{{scan_id}}"),),
        limit=FAILED_SHARE,
    ),
    Panel(
        "Crystals",
        "Crystals committed, by shape.",
        "suffix: crystals/s",
        (
            Query(
                f"sum by (shape) (scan_shape:mcn_scan_crystals:rate5m{{{SCAN}}})",
                "{{shape}}",
            ),
        ),
    ),
    Panel(
        "Busy workers",
        "Share of a stage's workers that are busy: the stage near 100 % limits the rate.",
        "percentunit",
        (Query(f"scan_stage:mcn_scan_busy_share:max{{{SCAN}}}", "{{scan_id}} {{stage}}"),),
        most=1,
    ),
    Panel(
        "Waiting tiles",
        "Tiles that wait for a stage.",
        "suffix: tiles",
        (Query(f"scan_stage:mcn_scan_queue_tiles:max{{{SCAN}}}", "{{scan_id}} {{stage}}"),),
        limit=WAITING_TILES,
    ),
    Panel(
        "Commit time",
        "Nine of ten commits are faster.",
        "s",
        (Query(f"scan:mcn_scan_commit_seconds:p90_rate15m{{{SCAN}}}", "{{scan_id}}"),),
        limit=COMMIT_SECONDS,
    ),
    Panel(
        "Work per tile",
        "Worker time per tile in each stage.",
        "s",
        (
            Query(
                f"scan_stage:mcn_scan_stage_seconds:rate5m{{{SCAN}}} / on (scan_id) group_left ()"
                f" (sum by (scan_id) (scan_status:mcn_scan_tiles:rate5m{{{SCAN}}}) > 0)",
                "{{scan_id}} {{stage}}",
            ),
        ),
    ),
    Panel(
        "Bytes read",
        "Bytes of tiles read from storage.",
        "Bps",
        (
            Query(
                f"max by (scan_id) (rate(mcn_scan_read_bytes_total{{{SCAN}}}[5m])"
                f" or rate(ray_mcn_scan_read_bytes_total{{{SCAN}}}[5m]))",
                "{{scan_id}}",
            ),
        ),
    ),
    Panel(
        "Busy GPU workers",
        "Share of the segmenters on GPUs that are busy.",
        "percentunit",
        (
            Query(
                f"max by (scan_id) (mcn_scan_gpu_busy_share{{{SCAN}}}"
                f" or ray_mcn_scan_gpu_busy_share{{{SCAN}}})",
                "{{scan_id}}",
                only="on GPUs",
            ),
        ),
        most=1,
    ),
)

ENDPOINT: Final = (
    Panel(
        "Requests",
        "Requests answered, by status.",
        "reqps",
        (
            Query(
                f"sum by (status) (rate(mcn_serve_requests_total{{{_API_ROUTES}}}[5m]))",
                "{{status}}",
            ),
        ),
    ),
    Panel(
        "Failed requests",
        "Share of requests that failed with a server error (5xx).",
        "percentunit",
        (
            Query("endpoint:mcn_serve_errors:ratio_rate5m", "5 minutes"),
            Query("endpoint:mcn_serve_errors:ratio_rate1h", "1 hour"),
            Query("endpoint:mcn_serve_errors:ratio_rate3d", "3 days"),
        ),
        limit=1 - GOAL,
    ),
    Panel(
        "Error budget spent",
        f"Of the {1 - GOAL:.1%} of requests that may fail, at the rate of the last three days.",
        "percentunit",
        (Query(f"endpoint:mcn_serve_errors:ratio_rate3d / {1 - GOAL:.4g}", "spent"),),
        limit=1,
    ),
    Panel(
        "Response time",
        "Time from a request to its response.",
        "s",
        _quantiles("mcn_serve_request_seconds", "route"),
    ),
    Panel(
        "Time in each stage",
        "Time that one request spends in each stage.",
        "s",
        _quantiles("mcn_serve_stage_seconds", "stage"),
    ),
    Panel(
        "In progress and waiting",
        "Requests in the endpoint, and pictures waiting for a segmenter or in one.",
        "short",
        (
            Query("sum(mcn_serve_in_flight)", "requests"),
            Query("endpoint:mcn_serve_queue:sum", "pictures"),
        ),
        limit=WAITING_PICTURES,
    ),
    Panel(
        "Batches",
        "Pictures, or crops, that a model processes at once.",
        "short",
        (
            Query(
                "sum by (stage) (rate(mcn_serve_batch_size_sum[5m]))"
                " / sum by (stage) (rate(mcn_serve_batch_size_count[5m]))",
                "{{stage}}",
            ),
        ),
    ),
    Panel(
        "Crystals classified",
        "Crystals classified, by shape.",
        "suffix: crystals/s",
        (Query("sum by (shape) (rate(mcn_serve_crystals_total[5m]))", "{{shape}}"),),
    ),
    Panel(
        "Refusals and retries",
        "Requests refused before their body was read, by reason, and retried after a replica died.",
        "reqps",
        (
            Query(
                "sum by (reason) (rate(mcn_serve_refused_total[5m]))",
                "refused: {{reason}}",
                only="after a refusal",
            ),
            Query("sum(rate(mcn_serve_retries_total[5m]))", "retried"),
        ),
    ),
    Panel(
        "Storage errors",
        "Requests that failed because of the storage of catalogue or tiles, by trouble.",
        "reqps",
        (
            Query(
                "sum by (trouble) (rate(mcn_serve_storage_errors_total[5m]))",
                "{{trouble}}",
            ),
        ),
    ),
    Panel(
        "Age of the catalogue",
        "Time since its last commit.",
        "s",
        (Query("min(mcn_serve_catalog_age_seconds)", "age"),),
        limit=STALE_HOURS * 3600,
    ),
)

CLUSTER: Final = (
    Panel(
        "Replicas",
        "Replicas of the endpoint's deployments: healthy ones, and the number wanted.",
        "short",
        (
            Query(
                f"sum by (deployment) (ray_serve_deployment_replica_healthy{{{_DEPLOYMENT}}})",
                "{{deployment}}",
            ),
            Query(
                f"max by (deployment) (ray_serve_autoscaling_target_replicas{{{_DEPLOYMENT}}})",
                "{{deployment}} wanted",
            ),
        ),
    ),
    Panel(
        "Failed health checks",
        "Failed checks of replicas in half an hour; the death of a replica counts as one.",
        "short",
        (
            Query(
                f"increase(deployment:ray_serve_health_check_failures:sum{{{_DEPLOYMENT}}}[30m])",
                "{{deployment}}",
            ),
        ),
    ),
    Panel(
        "Nodes",
        "Nodes that are alive.",
        "short",
        (Query("max(ray_cluster_active_nodes)", "nodes"),),
    ),
    Panel(
        "Cores in use",
        "Share of each node.",
        "percent",
        (
            Query(
                "max by (instance) (ray_node_cpu_utilization)",
                "{{instance}}",
            ),
        ),
        most=100,
    ),
    Panel(
        "Memory in use",
        "Share of each node.",
        "percentunit",
        (
            Query(
                "max by (instance) (ray_node_mem_used) / max by (instance) (ray_node_mem_total)",
                "{{instance}}",
            ),
        ),
        most=1,
    ),
    Panel(
        "Object store in use",
        "Share of each node; it has the tiles that wait between two stages.",
        "percentunit",
        (
            Query(
                "sum by (instance) (ray_object_store_used_memory)"
                " / (sum by (instance) (ray_object_store_used_memory)"
                " + sum by (instance) (ray_object_store_available_memory))",
                "{{instance}}",
            ),
        ),
        most=1,
    ),
    Panel(
        "GPUs in use",
        "Share of each GPU.",
        "percent",
        (
            Query(
                "max by (instance, GpuIndex) (ray_node_gpus_utilization)",
                "{{instance}} {{GpuIndex}}",
                only="on GPUs",
            ),
        ),
        most=100,
    ),
    Panel(
        "Alerts",
        "Alerts that are firing.",
        "short",
        (
            Query(
                'sum by (alertname) (ALERTS{alertstate="firing",service="mcn"})',
                "{{alertname}}",
                only="while an alert fires",
            ),
        ),
    ),
)

ROWS: Final = {"Scans": SCANS, "Endpoint": ENDPOINT, "Cluster": CLUSTER}
QUERIES: Final = tuple(
    query for panels in ROWS.values() for panel in panels for query in panel.queries
)
