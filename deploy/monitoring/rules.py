"""Recording rules and alerts of Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from deploy.monitoring.metric_names import APPLICATION, scan_gauge, scan_rate

Severity = Literal["critical", "warning"]

RUNBOOK: Final = "docs/operations.md"

GOAL: Final = 0.995
"""Target share of requests without a server error, over 30 days."""

FAILED_SHARE: Final = 0.05
COMMIT_SECONDS: Final = 30
"""The interval between two commits of a scan; slower commits delay it."""
WAITING_TILES: Final = 2000
WAITING_PICTURES: Final = 10
REFUSED_SHARE: Final = 0.01
FAILED_CHECKS: Final = 3
STALE_HOURS: Final = 50
"""Two nightly scans, and two hours for the second one to finish."""

WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""Windows of the error rates."""

_API_ROUTES: Final = 'route=~"/v1/.*"'
_FAILED: Final = '{status="failed"}'
_FAULT: Final = f'{_API_ROUTES},status=~"5.."'


@dataclass(frozen=True)
class Record:
    """A metric computed from others: a recording rule.

    Parameters
    ----------
    name : str
        `level:metric:operation`; the level names the remaining labels.
    expr : str
        In PromQL.
    labels : tuple of str
        Its labels.
    """

    name: str
    expr: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Alert:
    """A condition that needs action.

    Parameters
    ----------
    name : str
        Also the heading of its section in `RUNBOOK`.
    expr : str
        In PromQL; the alert is active while it returns a result.
    lasting : str
        How long the condition must hold before the alert fires.
    severity : str
        `critical`: act now; `warning`: act today.
    summary : str
        One line.
    description : str
        Meaning, and the first thing to do.
    """

    name: str
    expr: str
    lasting: str
    severity: Severity
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        """Section of the runbook."""
        return f"{RUNBOOK}#{self.name.lower()}"


def _failed_share(window: str) -> str:
    all_requests = f"sum(rate(mcn_serve_requests_total{{{_API_ROUTES}}}[{window}]))"
    faults = f"sum(rate(mcn_serve_requests_total{{{_FAULT}}}[{window}]))"
    return f"({faults} or 0 * {all_requests}) / {all_requests}"


def _tiles(matching: str) -> str:
    tiles = scan_rate(f"mcn_scan_tiles_total{matching}", "15m")
    return f"sum by (scan_id) (max by (scan_id, status) {tiles})"


_COMMITS: Final = scan_rate("mcn_scan_commit_seconds_bucket", "15m")

SCAN_RECORDS: Final = (
    Record(
        "scan_status:mcn_scan_tiles:rate5m",
        f"max by (scan_id, status) {scan_rate('mcn_scan_tiles_total', '5m')}",
        ("scan_id", "status"),
    ),
    Record(
        "scan_shape:mcn_scan_crystals:rate5m",
        f"max by (scan_id, shape) {scan_rate('mcn_scan_crystals_total', '5m')}",
        ("scan_id", "shape"),
    ),
    Record(
        "scan_stage:mcn_scan_stage_seconds:rate5m",
        f"max by (scan_id, stage) {scan_rate('mcn_scan_stage_seconds_total', '5m')}",
        ("scan_id", "stage"),
    ),
    Record(
        "scan_stage:mcn_scan_queue_tiles:max",
        f"max by (scan_id, stage) {scan_gauge('mcn_scan_queue_tiles')}",
        ("scan_id", "stage"),
    ),
    Record(
        "scan_stage:mcn_scan_busy_share:max",
        f"max by (scan_id, stage) {scan_gauge('mcn_scan_busy_share')}",
        ("scan_id", "stage"),
    ),
    Record(
        "scan:mcn_scan_failed_tiles:ratio_rate15m",
        f"({_tiles(_FAILED)} or 0 * {_tiles('')}) / {_tiles('')}",
        ("scan_id",),
    ),
    Record(
        "scan:mcn_scan_commit_seconds:p90_rate15m",
        f"histogram_quantile(0.9, max by (scan_id, le) {_COMMITS})",
        ("scan_id",),
    ),
)

ENDPOINT_RECORDS: Final = (
    *(
        Record(f"endpoint:mcn_serve_errors:ratio_rate{window}", _failed_share(window))
        for window in WINDOWS
    ),
    Record("endpoint:mcn_serve_queue:sum", "sum(mcn_serve_queue)"),
    Record(
        "deployment:ray_serve_health_check_failures:sum",
        # A replica's first failure creates its series, which `increase` does not count. The sum
        # over replicas does, and is 0 before the first failure.
        "sum by (application, deployment) (ray_serve_health_check_failures_total)"
        " or 0 * max by (application, deployment) (ray_serve_deployment_status)",
        ("application", "deployment"),
    ),
)


def _burning(factor: float, long: str, short: str) -> str:
    """The error budget is spent `factor` times too fast, in both windows, by 5 errors or more."""
    limit = f"{factor * (1 - GOAL):.4g}"
    return (
        f"(endpoint:mcn_serve_errors:ratio_rate{long} > {limit}"
        f" and endpoint:mcn_serve_errors:ratio_rate{short} > {limit}"
        f" and sum(increase(mcn_serve_requests_total{{{_FAULT}}}[{long}])) >= 5)"
    )


SCAN_ALERTS: Final = (
    Alert(
        "ScanStalled",
        "max by (scan_id) (scan_stage:mcn_scan_busy_share:max)"
        " unless on (scan_id) sum by (scan_id) (scan_status:mcn_scan_tiles:rate5m) > 0",
        "15m",
        "critical",
        "Scan {{ $labels.scan_id }} commits nothing",
        "The scan is running, but no tile was committed for a quarter of an hour. Look at its "
        "stages' busy shares: all idle means that the cluster has no room for its workers or "
        "that the store does not respond; one busy means that this stage hangs. It is safe to "
        "stop the scan and run it again: it continues where it stopped.",
    ),
    Alert(
        "ScanTilesFailing",
        f"scan:mcn_scan_failed_tiles:ratio_rate15m > {FAILED_SHARE}",
        "10m",
        "warning",
        "{{ $value | humanizePercentage }} of scan {{ $labels.scan_id }}'s tiles fail",
        "Each failed tile is a row with its error. Query the catalogue for the most frequent "
        "errors, remove the cause, and scan once more with --retry-failed.",
    ),
    Alert(
        "ScanCommitSlow",
        f"scan:mcn_scan_commit_seconds:p90_rate15m > {COMMIT_SECONDS}",
        "15m",
        "warning",
        "Commits of scan {{ $labels.scan_id }} take {{ $value | humanizeDuration }}",
        "Commits take longer than the time between them. Check whether the store is slow "
        "or other scans commit to the same tables, then compact the catalogue.",
    ),
    Alert(
        "ScanQueueGrowing",
        f"scan_stage:mcn_scan_queue_tiles:max > {WAITING_TILES}"
        " and deriv(scan_stage:mcn_scan_queue_tiles:max[30m]) > 0",
        "30m",
        "warning",
        "{{ $value | humanize }} tiles of scan {{ $labels.scan_id }} wait for {{ $labels.stage }}",
        "The stage gets tiles faster than it processes them, and waiting tiles fill the object "
        "store. Give it more workers (`most` of the stage), or the stage before it fewer.",
    ),
)

ENDPOINT_ALERTS: Final = (
    Alert(
        "EndpointSilent",
        "absent(mcn_serve_in_flight)",
        "5m",
        "critical",
        "The endpoint reports no metrics",
        "It is down, or the scrape is refused. Request /healthz and /readyz; if they respond, "
        "check whether the scrape's token still has the scope admin.",
    ),
    Alert(
        "EndpointErrorBudgetBurnsFast",
        _burning(14.4, "1h", "5m") + " or " + _burning(6, "6h", "30m"),
        "2m",
        "critical",
        "{{ $value | humanizePercentage }} of requests fail with a server error",
        f"At this rate the errors allowed for 30 days ({1 - GOAL:.1%} of requests) are used up "
        "within days. Check the status and the route: 503 with refusals is overload, 503 with "
        "retries means that replicas die, 500 is in the log with the request's id; failing "
        "storage has a separate alert.",
    ),
    Alert(
        "EndpointErrorBudgetBurnsSlowly",
        _burning(3, "1d", "2h") + " or " + _burning(1, "3d", "6h"),
        "1h",
        "warning",
        "{{ $value | humanizePercentage }} of requests fail with a server error",
        f"More than {1 - GOAL:.1%} of requests fail, the share allowed over 30 days. "
        "Find the most frequent error in the log and fix it this week.",
    ),
    Alert(
        "EndpointQueueGrowing",
        f"endpoint:mcn_serve_queue:sum > {WAITING_PICTURES}"
        " and deriv(endpoint:mcn_serve_queue:sum[15m]) > 0",
        "15m",
        "warning",
        "{{ $value | humanize }} pictures wait for a segmenter",
        "Pictures arrive faster than they are analysed. Check whether replicas wait for nodes; "
        "if not, raise `most` of the segmenters.",
    ),
    Alert(
        "EndpointRefusing",
        'sum(rate(mcn_serve_refused_total{reason="overload"}[10m]))'
        f" > {REFUSED_SHARE} * sum(rate(mcn_serve_requests_total{{{_API_ROUTES}}}[10m]))",
        "10m",
        "warning",
        "The endpoint refuses {{ $value | humanize }} requests per second: all models are busy",
        "The queue is full, and clients are asked to retry later. Raise `most` of the "
        "segmenters, or find the client that sends most and lower its token's limit.",
    ),
    Alert(
        "ReplicasRestarting",
        f'increase(deployment:ray_serve_health_check_failures:sum{{application="{APPLICATION}"}}'
        f"[30m]) >= {FAILED_CHECKS}",
        "1m",
        "warning",
        "Replicas of {{ $labels.deployment }} die or hang, and are restarted",
        "{{ $value | humanize }} health checks failed within half an hour. Ray's "
        "dashboard shows why the replicas ended: mostly for lack of memory. Requests are retried "
        "once, so users may not have noticed yet.",
    ),
    Alert(
        "DeploymentUnhealthy",
        "min by (application, deployment)"
        f' (ray_serve_deployment_status{{application="{APPLICATION}"}}) < 6',
        "15m",
        "critical",
        "{{ $labels.deployment }} stays unhealthy",
        "Ray Serve has not brought this deployment up for a quarter of an hour: it cannot start "
        "(see `serve status`), or no node has room for its replicas.",
    ),
    Alert(
        "StorageFailing",
        "sum by (trouble) (increase(mcn_serve_storage_errors_total[5m])) > 0",
        "5m",
        "critical",
        "The endpoint's storage fails: {{ $labels.trouble }}",
        "Queries of the catalogue fail because of its storage: it is unreachable, "
        "refuses the credentials, lacks a file, or has damaged bytes. The log and the "
        "responses name the place and say what to do. Invalid queries are not counted.",
    ),
    Alert(
        "CatalogueStale",
        f"min(mcn_serve_catalog_age_seconds) > {STALE_HOURS * 3600}",
        "10m",
        "warning",
        "Nothing was committed to the catalogue for {{ $value | humanizeDuration }}",
        "Two nightly scans have added nothing. Check whether they ran and how they ended; "
        "if there are no new tiles, silence this alert until there are.",
    ),
)

RECORDS: Final = (*SCAN_RECORDS, *ENDPOINT_RECORDS)
ALERTS: Final = (*SCAN_ALERTS, *ENDPOINT_ALERTS)


def rule_groups() -> dict[str, Any]:
    """All rules in the form of a rule file; the spec of a PrometheusRule is the same."""
    return {
        "groups": [
            {"name": "mcn-scan", "rules": [_record_rule(rule) for rule in SCAN_RECORDS]},
            {"name": "mcn-endpoint", "rules": [_record_rule(rule) for rule in ENDPOINT_RECORDS]},
            {"name": "mcn-scan-alerts", "rules": [_alert_rule(rule) for rule in SCAN_ALERTS]},
            {
                "name": "mcn-endpoint-alerts",
                "rules": [_alert_rule(rule) for rule in ENDPOINT_ALERTS],
            },
        ]
    }


def _record_rule(record: Record) -> dict[str, Any]:
    return {"record": record.name, "expr": record.expr}


def _alert_rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.lasting,
        "labels": {"severity": alert.severity, "service": "mcn"},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook": alert.runbook,
        },
    }
