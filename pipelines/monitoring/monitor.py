"""Run beside a scan: update its metrics, say what it waits for, and handle Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Final

from pipelines.fault_isolation.attempts import StageProgress
from pipelines.monitoring.metrics import ScanMetrics

logger = logging.getLogger("pipelines.scan")

_INTERVAL_S: Final = 2.0
_PATIENCE_S: Final = 60.0


@contextmanager
def stage_metrics(attempt_log: Any, metrics: ScanMetrics, on_gpu: bool) -> Iterator[None]:
    """Update the metrics of the stages from the attempt log every few seconds."""
    import ray

    finished = threading.Event()
    progress: Mapping[str, StageProgress] = {}

    def update(since: float) -> float:
        nonlocal progress
        now = monotonic()
        # The attempt log may be restarting; the next update reads it.
        with suppress(ray.exceptions.RayError):
            progress = ray.get(attempt_log.progress.remote(), timeout=_INTERVAL_S)
            metrics.update_stages(progress, now - since, on_gpu)
        return now

    def watch() -> None:
        since = reminded = monotonic()
        while not finished.wait(_INTERVAL_S):
            since = update(since)
            stage = waiting_stage(progress)
            if stage is None:
                reminded = since
            elif since - reminded > _PATIENCE_S:
                reminded = since
                logger.warning(
                    "no tile has reached the stage %s: its workers are loading the model, or there "
                    "is no room for them; free are %s",
                    stage,
                    shares(ray.available_resources(), ray.cluster_resources()),  # type: ignore[no-untyped-call]
                )

    thread = threading.Thread(target=watch, name="stage-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def waiting_stage(progress: Mapping[str, StageProgress]) -> str | None:
    """The first stage that no tile has reached; None if tiles have reached all with models."""
    return next((stage for stage in ("read", "segment", "classify") if stage not in progress), None)


def shares(free: Mapping[str, float], whole: Mapping[str, float]) -> str:
    """How much of a cluster's resources is free, such as `0.2 of 4 CPU, 0 of 1 GPU`."""
    return ", ".join(
        f"{free.get(name, 0.0):g} of {whole[name]:g} {name}"
        for name in ("CPU", "GPU")
        if name in whole
    )


@contextmanager
def drained_on_interrupt(attempt_log: Any, scan_id: str) -> Iterator[threading.Event]:
    """Finish the tiles in progress on the first SIGINT or SIGTERM; exit on the second.

    The second signal exits the process at once, because other libraries may catch an exception. The
    next scan cleans up, as after a crash. Yields an event that the first signal sets.
    """
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def second(number: int, frame: Any) -> None:
        del frame
        os._exit(128 + number)

    def first(number: int, frame: Any) -> None:
        del number, frame
        for handled in signals:
            signal.signal(handled, second)
        stopping.set()
        attempt_log.drain.remote()
        print(
            f"scan {scan_id}: finishing the tiles in progress, then stopping; "
            "interrupt again to end it now",
            file=sys.stderr,
        )

    for number in signals:
        signal.signal(number, first)
    try:
        yield stopping
    finally:
        restore()
