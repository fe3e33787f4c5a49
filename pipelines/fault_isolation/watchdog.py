"""End a worker whose work exceeds its time limit; time spent waiting for a core does not count."""

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
"""Extra time for work that holds the GIL, during which the thread of this module cannot run."""

_HELD_GIL_FACTOR: Final = 3.0
"""Work that holds the GIL ends after this many times its limit; waiting cannot be measured then."""

_MIN_SHARE: Final = 0.1
"""At least this share of the elapsed time counts, however crowded the cores are."""

_IDLE_SHARE: Final = 0.05
"""A process that uses less than this share of a core is idle, not waiting for a core."""

_THREADS: Final = Path("/proc/self/task")


@contextmanager
def time_limit(seconds: float, expired: Callable[[], None]) -> Iterator[None]:
    """Run the body under a time limit; the process exits when the limit is exceeded.

    Only the end of the process stops native code that hangs.

    Parameters
    ----------
    seconds : float
        Time as `WorkClock` counts it.
    expired : callable
        Called from another thread before the process exits.
    """
    if seconds == float("inf"):
        yield
        return
    finished = threading.Event()
    clock = WorkClock()

    def arm(remaining: float) -> None:
        # Python threads do not run while native code holds the GIL.
        faulthandler.dump_traceback_later(_HELD_GIL_FACTOR * remaining + GRACE_S, exit=True)

    def watch() -> None:
        while not finished.wait(min(1.0, seconds / 20)):
            remaining = seconds - clock.read()
            if remaining <= 0:
                try:
                    expired()
                finally:
                    os._exit(1)
            arm(remaining)

    arm(seconds)
    watcher = threading.Thread(target=watch, name="watchdog", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()
        faulthandler.cancel_dump_traceback_later()


def run_queue_delays(thread: str = "*") -> Mapping[str, float]:
    """Seconds that each thread of this process has been ready to run and waited for a core.

    Parameters
    ----------
    thread : str
        Native id of a thread; all threads if not given.

    Returns
    -------
    mapping of str to float
        By thread; empty if the kernel does not report it.

    References
    ----------
    Linux kernel, "Scheduler Statistics", `/proc/<pid>/schedstat`: the second number.
    """
    delays = {}
    for number in os.listdir(_THREADS) if thread == "*" and _THREADS.exists() else [thread]:
        try:
            delays[number] = int((_THREADS / number / "schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):  # the thread has ended
            continue
    return delays


class WorkClock:
    """Measures the time of work without the time for which it waited for a core.

    Computing, sleeping and waiting for files count, so that a hung tile is detected on time on a
    busy machine too. If the kernel does not report how long threads waited, the processor
    time of the process counts while it uses any.

    Parameters
    ----------
    delays : callable
        Like `run_queue_delays`. Create the clock in the thread that does the work.
    now, used : callable
        Wall-clock seconds and seconds of processor time.
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
        # Other threads count from the first reading on; most of their work is done before it.
        self._before = delays(str(threading.get_native_id()))
        self._waited = 0.0

    def read(self) -> float:
        """Seconds so far. Read it often: the delays of a thread are lost when it ends."""
        now, used, delays = self._now(), self._used(), self._delays()
        elapsed, progress = now - self._last, used - self._last_used
        if not any(delays.values()):  # the kernel does not report delays
            if progress > _IDLE_SHARE * elapsed:
                self._waited += max(0.0, elapsed - progress)
        else:
            # Threads wait for each other, so the longest delay is the delay of the work.
            self._waited += max(
                delay - self._before.get(name, delay) for name, delay in delays.items()
            )
        self._last, self._last_used, self._before = now, used, delays
        total = now - self._start
        return max(total - self._waited, _MIN_SHARE * total)
