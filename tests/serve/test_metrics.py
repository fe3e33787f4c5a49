"""Replicas of a machine share their metrics; those of ended processes are counted correctly."""

import subprocess
import sys
from pathlib import Path

from serve.metrics import METRICS, ServeMetrics

from ..programs import program_environment
from ..waiting import DEADLINE_S

REPLICA = """
from serve.metrics import ServeMetrics

metrics = ServeMetrics("shared")
metrics.requests.labels("/v1/analyze", "POST", "200").inc()
metrics.in_flight.inc()
print(metrics.exposed()[0].decode())
"""


def run_replica(folder: Path) -> list[str]:
    """Metrics at the end of a replica's process; their storage is chosen at import."""
    done = subprocess.run(
        [sys.executable, "-c", REPLICA],
        env={**program_environment(), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    return done.stdout.splitlines()


def test_counts_outlive_a_replica_and_requests_in_progress_do_not(tmp_path: Path) -> None:
    run_replica(tmp_path)
    lines = run_replica(tmp_path)
    requests = 'mcn_serve_requests_total{method="POST",route="/v1/analyze",status="200"} 2.0'
    assert requests in lines
    assert "mcn_serve_in_flight 1.0" in lines


def test_every_metric_has_the_name_that_dashboards_use() -> None:
    metrics = ServeMetrics("test-names")
    names = {
        family.name + ("_total" if family.type == "counter" else "")
        for metric in vars(metrics).values()
        if hasattr(metric, "collect") and hasattr(metric, "labels")
        for family in metric.collect()
    }
    assert names == set(METRICS)
