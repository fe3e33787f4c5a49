"""Metrics of a scan, reported both to Prometheus and to Ray.

The exporter of Ray has them wherever it runs. `serve_metrics` serves them on a port of the driver,
for machines without the agents of Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import prometheus_client as prometheus
from ray.util import metrics as ray_metrics

from mcn.errors import McnError
from pipelines.batch import WrittenBatch
from pipelines.fault_isolation.attempts import StageProgress
from pipelines.resources import STAGES

METRICS: Final = {
    "mcn_scan_tiles_total": ("Tiles committed.", ("scan_id", "status")),
    "mcn_scan_crystals_total": ("Crystals committed.", ("scan_id", "shape")),
    "mcn_scan_stage_seconds_total": ("Time workers were busy.", ("scan_id", "stage")),
    "mcn_scan_read_bytes_total": ("Bytes of tiles fetched.", ("scan_id",)),
    "mcn_scan_queue_tiles": ("Tiles that wait for a stage.", ("scan_id", "stage")),
    "mcn_scan_busy_share": ("Busy workers of all of a stage.", ("scan_id", "stage")),
    "mcn_scan_gpu_busy_share": ("Busy share of the workers on GPUs.", ("scan_id",)),
    "mcn_scan_commit_seconds": ("Time a commit took.", ("scan_id",)),
}
"""Name → description and labels. Tests compare the dashboard and the rules with this table."""

_BOUNDS: Final = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


class MetricsError(McnError):
    """The metrics cannot be served on this port."""


class ScanMetrics:
    """The metrics of one scan.

    Parameters
    ----------
    scan_id : str
        Label of every metric.
    workers : mapping of str to int
        Maximum number of workers of each stage; busy shares refer to it.
    """

    def __init__(self, scan_id: str, workers: Mapping[str, int]) -> None:
        self.registry = prometheus.CollectorRegistry()
        self._workers = workers
        self._before: dict[str, StageProgress] = {}

        def metric(kind: str, name: str) -> _Metric:
            return _Metric(self.registry, kind, name, scan_id)

        self._tiles = metric("counter", "mcn_scan_tiles_total")
        self._crystals = metric("counter", "mcn_scan_crystals_total")
        self._seconds = metric("counter", "mcn_scan_stage_seconds_total")
        self._bytes = metric("counter", "mcn_scan_read_bytes_total")
        self._queue = metric("gauge", "mcn_scan_queue_tiles")
        self._busy = metric("gauge", "mcn_scan_busy_share")
        self._gpu = metric("gauge", "mcn_scan_gpu_busy_share")
        self._commit = metric("histogram", "mcn_scan_commit_seconds")

    def add_batch(self, batch: WrittenBatch) -> None:
        """Count a committed batch."""
        count = batch.count
        for status, tiles in (("ok", count.ok), ("failed", count.failed)):
            if tiles:
                self._tiles.add(tiles, status=status)
        for shape, crystals in batch.shapes.items():
            self._crystals.add(crystals, shape=shape)

    def add_commit(self, seconds: float) -> None:
        """Record the duration of a commit."""
        self._commit.observe(seconds)

    def update_stages(
        self, progress: Mapping[str, StageProgress], seconds: float, on_gpu: bool
    ) -> None:
        """Record what the stages have done since the last call.

        Parameters
        ----------
        progress : mapping of str to StageProgress
            By stage, since the start of the scan.
        seconds : float
            Time since the last call.
        on_gpu : bool
            Whether segmenters run on GPUs.
        """
        for stage, now in progress.items():
            before = self._before.get(stage, StageProgress())
            busy = max(0.0, now.seconds - before.seconds)
            self._seconds.add(busy, stage=stage)
            self._bytes.add(max(0, now.bytes - before.bytes))
            share = min(1.0, busy / max(seconds, 1e-9) / self._workers.get(stage, 1))
            self._busy.set(share, stage=stage)
            if stage == "segment" and on_gpu:
                self._gpu.set(share)
        for stage, previous in zip(STAGES[1:], STAGES, strict=False):
            if stage in progress and previous in progress:
                waiting = progress[previous].ended - progress[stage].begun
                self._queue.set(max(0, waiting), stage=stage)
        self._before = dict(progress)


def serve_metrics(metrics: ScanMetrics, host: str, port: int) -> Any:
    """Serve the metrics on an address of this machine, in the format of Prometheus.

    Returns
    -------
    server
        Call `shutdown` and `server_close` to stop it.
    """
    try:
        server, _ = prometheus.start_http_server(port, host, registry=metrics.registry)
    except OSError as error:
        raise MetricsError(
            f"metrics at {host}:{port}: {error.strerror}; choose another with --metrics-port and "
            "--metrics-host"
        ) from error
    return server


class _Metric:
    """One metric, reported to Prometheus and to Ray."""

    def __init__(
        self,
        registry: prometheus.CollectorRegistry,
        kind: str,
        name: str,
        scan_id: str,
    ) -> None:
        description, keys = METRICS[name]
        self._scan_label = {"scan_id": scan_id}
        if kind == "counter":
            self._prometheus: Any = prometheus.Counter(name, description, keys, registry=registry)
            self._ray: Any = ray_metrics.Counter(name.removesuffix("_total"), description, keys)
        elif kind == "gauge":
            self._prometheus = prometheus.Gauge(name, description, keys, registry=registry)
            self._ray = ray_metrics.Gauge(name, description, keys)
        else:
            self._prometheus = prometheus.Histogram(
                name, description, keys, buckets=_BOUNDS, registry=registry
            )
            self._ray = ray_metrics.Histogram(name, description, _BOUNDS, keys)

    def add(self, amount: float, **labels: str) -> None:
        """Increase a counter."""
        if amount > 0:
            labels = self._scan_label | labels
            self._prometheus.labels(**labels).inc(amount)
            self._ray.inc(amount, labels)

    def set(self, value: float, **labels: str) -> None:
        """Set a gauge."""
        labels = self._scan_label | labels
        self._prometheus.labels(**labels).set(value)
        self._ray.set(value, labels)

    def observe(self, value: float) -> None:
        """Add a value to a histogram."""
        self._prometheus.labels(**self._scan_label).observe(value)
        self._ray.observe(value, self._scan_label)
