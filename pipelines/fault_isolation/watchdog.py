"""Ends a worker whose work does not come back; time spent waiting for a core is not counted."""

from __future__ import annotations

import faulthandler
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, process_time
from typing import Final

GRACE_S: Final = 20.0
"""So much longer may work take during which not even this module's thread is let run."""

_DEAF: Final = 3.0
"""Such work is ended after so many times its limit, since nothing can be measured meanwhile."""

_LEAST_SHARE: Final = 0.1
"""At least this share of the elapsed time counts, however crowded the cores are."""

_PROGRESS: Final = 0.05
"""A process that uses less of a core than this is idle, not short of processor time."""

_THREADS: Final = Path("/proc/self/task")


@contextmanager
def time_limit(seconds: float, expired: Callable[[], None]) -> Iterator[None]:
    """Run the body under a time limit; this process ends when the limit is passed.

    Nothing less stops a library that does not come back.

    Parameters
    ----------
    seconds : float
        Time as `WorkClock` counts it.
    expired : callable
        Called from another thread before the process ends.
    """
    if seconds == float("inf"):
        yield
        return
    over = threading.Event()
    clock = WorkClock()

    def arm(left: float) -> None:
        # A thread of Python's is not run while a library holds the interpreter.
        faulthandler.dump_traceback_later(_DEAF * left + GRACE_S, exit=True)

    def watch() -> None:
        while not over.wait(min(1.0, seconds / 20)):
            left = seconds - clock.read()
            if left <= 0:
                try:
                    expired()
                finally:
                    os._exit(1)
            arm(left)

    arm(seconds)
    watcher = threading.Thread(target=watch, name="watchdog", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        faulthandler.cancel_dump_traceback_later()


def run_queue_delays(thread: str = "*") -> Mapping[str, float]:
    """Seconds that each thread of this process has been ready to run and waited for a core.

    Parameters
    ----------
    thread : str
        Number of the only thread to ask about; all if not given.

    Returns
    -------
    mapping of str to float
        By thread; empty where the kernel does not tell.

    References
    ----------
    Linux kernel, "Scheduler Statistics", `/proc/<pid>/schedstat`: the second number.
    """
    delays = {}
    for number in os.listdir(_THREADS) if thread == "*" and _THREADS.exists() else [thread]:
        try:
            delays[number] = int((_THREADS / number / "schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):  # the thread has just ended
            continue
    return delays


class WorkClock:
    """The time that work takes, without the time for which it waited for a core.

    Computing, sleeping and waiting for files all count, so that a hung tile is found in its
    time whatever else the machine does. Where the kernel does not tell how long threads
    waited, the processor time of this process counts instead while it uses any.

    Parameters
    ----------
    delays : callable
        As `run_queue_delays`. The thread that makes the clock is the one that works.
    now, used : callable
        Seconds that have passed, and seconds of processor time.
    """

    def __init__(
        self,
        delays: Callable[..., Mapping[str, float]] = run_queue_delays,
        now: Callable[[], float] = monotonic,
        used: Callable[[], float] = process_time,
    ) -> None:
        self._delays, self._now, self._used = delays, now, used
        self._start = self._last = now()
        self._last_used = used()
        # Of all others from the first reading on, since most work is done before it.
        self._before = delays(str(threading.get_native_id()))
        self._waited = 0.0

    def read(self) -> float:
        """Seconds so far; to be read often, since a thread that ends takes its figures along."""
        now, used, delays = self._now(), self._used(), self._delays()
        elapsed, progress = now - self._last, used - self._last_used
        if not any(delays.values()):  # as where the kernel was built without
            if progress > _PROGRESS * elapsed:
                self._waited += max(0.0, elapsed - progress)
        else:
            # Threads wait for one another, so the one that waited longest held up the work.
            self._waited += max(
                delay - self._before.get(name, delay) for name, delay in delays.items()
            )
        self._last, self._last_used, self._before = now, used, delays
        total = now - self._start
        return max(total - self._waited, _LEAST_SHARE * total)
