"""What a scan tells those who watch over it: the same metrics to Prometheus and to Ray.

Ray's own exporter carries them wherever it runs; `serve_metrics` gives them on a port of the
driver's, for a machine without Ray's agents.
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
"""Name → meaning and labels, for dashboards and rules to be compared with."""

_BOUNDS: Final = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


class MetricsError(McnError):
    """A port that the metrics cannot be told on."""


class ScanMetrics:
    """The metrics of one scan.

    Parameters
    ----------
    scan_id : str
        Goes with every metric.
    workers : mapping of str to int
        Most workers of each stage, which their busy share is of.
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

    def committed(self, group: WrittenBatch) -> None:
        """Count a group that became visible."""
        count = group.count
        for status, tiles in (("ok", count.ok), ("failed", count.failed)):
            if tiles:
                self._tiles.add(tiles, status=status)
        for shape, crystals in group.shapes.items():
            self._crystals.add(crystals, shape=shape)

    def commit_took(self, seconds: float) -> None:
        """Note how long a commit took."""
        self._commit.note(seconds)

    def paced(self, pace: Mapping[str, StageProgress], seconds: float, on_gpu: bool) -> None:
        """Note what the stages did in the last so many seconds."""
        for stage, now in pace.items():
            before = self._before.get(stage, StageProgress())
            busy = max(0.0, now.seconds - before.seconds)
            self._seconds.add(busy, stage=stage)
            self._bytes.add(max(0, now.bytes - before.bytes))
            share = min(1.0, busy / max(seconds, 1e-9) / self._workers.get(stage, 1))
            self._busy.set(share, stage=stage)
            if stage == "segment" and on_gpu:
                self._gpu.set(share)
        for stage, previous in zip(STAGES[1:], STAGES, strict=False):
            if stage in pace and previous in pace:
                waiting = pace[previous].ended - pace[stage].begun
                self._queue.set(max(0, waiting), stage=stage)
        self._before = dict(pace)


def serve_metrics(metrics: ScanMetrics, port: int) -> Any:
    """Tell the metrics on a port of this machine, in Prometheus' format.

    Returns
    -------
    server
        Its `shutdown` and `server_close` end it.
    """
    try:
        server, _ = prometheus.start_http_server(port, registry=metrics.registry)
    except OSError as error:
        raise MetricsError(
            f"metrics port {port}: {error.strerror}; choose another with --metrics-port"
        ) from error
    return server


class _Metric:
    """One metric, kept for both."""

    def __init__(
        self,
        registry: prometheus.CollectorRegistry,
        kind: str,
        name: str,
        scan_id: str,
    ) -> None:
        meaning, keys = METRICS[name]
        self._fixed = {"scan_id": scan_id}
        if kind == "counter":
            self._prometheus: Any = prometheus.Counter(name, meaning, keys, registry=registry)
            self._ray: Any = ray_metrics.Counter(name.removesuffix("_total"), meaning, keys)
        elif kind == "gauge":
            self._prometheus = prometheus.Gauge(name, meaning, keys, registry=registry)
            self._ray = ray_metrics.Gauge(name, meaning, keys)
        else:
            self._prometheus = prometheus.Histogram(
                name, meaning, keys, buckets=_BOUNDS, registry=registry
            )
            self._ray = ray_metrics.Histogram(name, meaning, _BOUNDS, keys)

    def add(self, amount: float, **labels: str) -> None:
        """Count up."""
        if amount > 0:
            labels = self._fixed | labels
            self._prometheus.labels(**labels).inc(amount)
            self._ray.inc(amount, labels)

    def set(self, value: float, **labels: str) -> None:
        """Say how it is now."""
        labels = self._fixed | labels
        self._prometheus.labels(**labels).set(value)
        self._ray.set(value, labels)

    def note(self, value: float) -> None:
        """Note one of many values."""
        self._prometheus.labels(**self._fixed).observe(value)
        self._ray.observe(value, self._fixed)
