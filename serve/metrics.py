"""Prometheus metrics of the endpoint, shared by all ingress replicas of a machine.

Only ingress replicas record metrics: timings of the models come back with each result.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from mcn.errors import StorageTrouble

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

METRICS: Final = {
    "mcn_serve_requests_total": ("Requests answered.", ("route", "method", "status")),
    "mcn_serve_request_seconds": ("Time from a request to its response.", ("route",)),
    "mcn_serve_stage_seconds": ("Time that one request spent in a stage.", ("stage",)),
    "mcn_serve_batch_size": ("Pictures, or crops, that a model processed at once.", ("stage",)),
    "mcn_serve_in_flight": ("Requests in progress or waiting.", ()),
    "mcn_serve_queue": ("Pictures waiting for a segmenter or in one.", ()),
    "mcn_serve_refused_total": ("Requests refused before their body was read.", ("reason",)),
    "mcn_serve_retries_total": ("Requests retried after a replica died.", ()),
    "mcn_serve_storage_errors_total": (
        "Requests that failed because of the storage of catalogue or tiles.",
        ("trouble",),
    ),
    "mcn_serve_crystals_total": ("Crystals classified.", ("shape",)),
    "mcn_serve_catalog_age_seconds": ("Time since the catalogue's last commit.", ()),
}
"""Name → help and labels, also for tests of dashboards and rules."""

_SECONDS: Final = (0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 100)
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"


def shared_folder(label: str) -> Path:
    """The folder through which the processes of a group on a machine share small files.

    Raises
    ------
    PermissionError
        If another user made it.
    """
    folder = Path(tempfile.gettempdir(), f"mcn-serve-{os.getuid()}-{label}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user; remove it")
    return folder


class ServeMetrics:
    """The metrics, shared between the ingress replicas of a machine through small files.

    Parameters
    ----------
    label : str
        Names the group of replicas that share metrics, such as a node and an application.
    """

    def __init__(self, label: str) -> None:
        # prometheus_client reads the variable when it is imported.
        folder = shared_folder(label)
        os.environ[_FOLDER] = str(folder)
        import prometheus_client as prometheus
        from prometheus_client import multiprocess

        self._folder = folder
        self._registry = prometheus.CollectorRegistry()
        multiprocess.MultiProcessCollector(self._registry, str(folder))  # type: ignore[no-untyped-call]

        def counter(name: str) -> Counter:
            return prometheus.Counter(name, *METRICS[name], registry=None)

        def gauge(name: str, mode: str) -> Gauge:
            return prometheus.Gauge(name, *METRICS[name], registry=None, multiprocess_mode=mode)  # type: ignore[arg-type]

        def histogram(name: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return prometheus.Histogram(name, *METRICS[name], registry=None, buckets=buckets)

        self.requests = counter("mcn_serve_requests_total")
        self.request_seconds = histogram("mcn_serve_request_seconds")
        self.stage_seconds = histogram("mcn_serve_stage_seconds")
        self.batch_size = histogram("mcn_serve_batch_size", _SIZES)
        self.in_flight = gauge("mcn_serve_in_flight", "livesum")
        self.queue = gauge("mcn_serve_queue", "livesum")
        self.refused = counter("mcn_serve_refused_total")
        self.retries = counter("mcn_serve_retries_total")
        self.storage_errors = counter("mcn_serve_storage_errors_total")
        for trouble in get_args(StorageTrouble):
            # Without a zero before it, the first error would not count as an increase.
            self.storage_errors.labels(trouble)
        self.crystals = counter("mcn_serve_crystals_total")
        self.catalog_age = gauge("mcn_serve_catalog_age_seconds", "mostrecent")

    def exposed(self) -> tuple[bytes, str]:
        """All metrics in Prometheus' text format, and its content type."""
        from prometheus_client import exposition, multiprocess

        for path in self._folder.glob("gauge_live*_*.db"):
            process = int(path.stem.rpartition("_")[2])
            if not Path(f"/proc/{process}").exists():
                multiprocess.mark_process_dead(process)  # type: ignore[no-untyped-call]
        return exposition.generate_latest(self._registry), exposition.CONTENT_TYPE_LATEST
