"""Beside a running scan: its pace taken down, and Ctrl-C heard."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Final

from pipelines.monitoring.metrics import ScanMetrics

_WATCH_S: Final = 2.0


@contextmanager
def watched(ledger: Any, metrics: ScanMetrics, on_gpu: bool) -> Iterator[None]:
    """Take the stages' pace over from the ledger every now and then."""
    import ray

    over = threading.Event()

    def look(since: float) -> float:
        now = monotonic()
        # The ledger may be just starting again; the next look finds it.
        with suppress(ray.exceptions.RayError):
            metrics.paced(ray.get(ledger.progress.remote(), timeout=_WATCH_S), now - since, on_gpu)
        return now

    def watch() -> None:
        since = monotonic()
        while not over.wait(_WATCH_S):
            since = look(since)

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def drained_on_interrupt(ledger: Any, scan_id: str) -> Iterator[threading.Event]:
    """The first Ctrl-C or request to end lets what is begun be finished; the second ends it.

    The second ends this process where it stands, for an exception may be caught on its way
    through other libraries; the next scan cleans up, as after any death.
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
        for each in signals:
            signal.signal(each, second)
        stopping.set()
        ledger.drain.remote()
        print(
            f"scan {scan_id}: finishing what is begun, then stopping; once more ends it now",
            file=sys.stderr,
        )

    for number in signals:
        signal.signal(number, first)
    try:
        yield stopping
    finally:
        restore()
