"""The metrics of a scan are served while it runs."""

import urllib.request

import pytest

from pipelines.batch import Count, WrittenBatch
from pipelines.fault_isolation.attempts import StageProgress
from pipelines.monitoring.metrics import MetricsError, ScanMetrics, serve_metrics

from ...waiting import DEADLINE_S


@pytest.fixture
def metrics() -> ScanMetrics:
    metrics = ScanMetrics("scan-1", {"read": 2, "segment": 4})
    wells = {"A": Count(5, 1, 30), "B": Count(2, 0, 4)}
    metrics.add_batch(WrittenBatch((), wells, {"rhombic": 30, "spherical": 4}))
    metrics.add_commit(0.2)
    metrics.update_stages(
        {"read": StageProgress(12, 10, 4.0, 900), "segment": StageProgress(6, 4, 8.0)},
        4.0,
        on_gpu=True,
    )
    metrics.update_stages(
        {"read": StageProgress(14, 12, 5.0, 950), "segment": StageProgress(9, 8, 12.0)},
        2.0,
        on_gpu=True,
    )
    return metrics


def test_metrics_are_served_on_a_port(metrics: ScanMetrics) -> None:
    server = serve_metrics(metrics, "127.0.0.1", 0)
    try:
        address = f"http://127.0.0.1:{server.server_port}/metrics"
        exposition = urllib.request.urlopen(address, timeout=DEADLINE_S).read().decode()
    finally:
        server.shutdown()
        server.server_close()
    for line in (
        'mcn_scan_tiles_total{scan_id="scan-1",status="ok"} 7.0',
        'mcn_scan_tiles_total{scan_id="scan-1",status="failed"} 1.0',
        'mcn_scan_crystals_total{scan_id="scan-1",shape="rhombic"} 30.0',
        'mcn_scan_stage_seconds_total{scan_id="scan-1",stage="segment"} 12.0',
        'mcn_scan_read_bytes_total{scan_id="scan-1"} 950.0',
        'mcn_scan_queue_tiles{scan_id="scan-1",stage="segment"} 3.0',
        'mcn_scan_busy_share{scan_id="scan-1",stage="segment"} 0.5',
        'mcn_scan_gpu_busy_share{scan_id="scan-1"} 0.5',
        'mcn_scan_commit_seconds_count{scan_id="scan-1"} 1.0',
    ):
        assert line in exposition, exposition


def test_a_port_that_is_taken(metrics: ScanMetrics) -> None:
    server = serve_metrics(metrics, "127.0.0.1", 0)
    try:
        with pytest.raises(MetricsError, match="choose another with --metrics-port"):
            serve_metrics(metrics, "127.0.0.1", server.server_port)
    finally:
        server.shutdown()
        server.server_close()
