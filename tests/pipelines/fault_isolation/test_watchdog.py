"""Work that hangs ends its process; time spent waiting for a core does not count."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.fault_isolation.watchdog import WorkClock, run_queue_delays, time_limit

from ...waiting import DEADLINE_S


class Machine:
    """A clock's inputs, set by the test."""

    def __init__(self) -> None:
        self.now, self.used, self.delays = 100.0, 7.0, {"1": 3.0, "2": 0.5}
        self.clock = WorkClock(lambda *thread: self.delays, lambda: self.now, lambda: self.used)

    def advance(self, seconds: float, used: float = 0.0, **waited: float) -> float:
        self.now += seconds
        self.used += used
        self.delays = {
            name: delay + waited.get(f"thread_{name}", 0.0) for name, delay in self.delays.items()
        }
        return self.clock.read()


def test_only_waiting_for_a_core_does_not_count() -> None:
    machine = Machine()
    assert machine.advance(1.0) == pytest.approx(1.0)
    assert machine.advance(4.0, used=1.0, thread_1=3.0) == pytest.approx(2.0), "a crowded machine"
    assert machine.advance(1.0, used=1.0) == pytest.approx(3.0), "a free core"
    assert machine.advance(5.0) == pytest.approx(8.0), "asleep, or waiting for a file"


def test_the_longest_waiting_thread_delays_the_work() -> None:
    machine = Machine()
    machine.advance(0.0)
    assert machine.advance(4.0, thread_1=1.0, thread_2=3.0) == pytest.approx(1.0)
    machine.delays = {"2": 3.5, "3": 2.0}  # one thread has ended, and another has started
    assert machine.advance(4.0) == pytest.approx(5.0)
    assert machine.advance(4.0, thread_3=3.0) == pytest.approx(6.0)


def test_a_tenth_of_the_time_always_counts() -> None:
    machine = Machine()
    machine.advance(0.0)
    assert machine.advance(100.0, thread_1=99.9) == pytest.approx(10.0)


def test_without_schedstat_idle_time_counts() -> None:
    machine = Machine()
    machine.delays = {}
    assert machine.advance(4.0, used=1.0) == pytest.approx(1.0), "slow progress"
    assert machine.advance(4.0, used=0.01) == pytest.approx(5.0), "no progress"
    assert machine.advance(4.0, used=16.0) == pytest.approx(9.0), "many threads"


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="no schedstat here")
def test_waiting_of_a_thread_that_shares_its_core_is_measured() -> None:
    """A thread that shares one core with another process must wait sooner or later."""
    before = os.sched_getaffinity(0)
    core = min(before)
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(other.pid, {core})
        os.sched_setaffinity(0, {core})
        thread_id = str(threading.get_native_id())
        first = run_queue_delays().get(thread_id, 0.0)
        while run_queue_delays().get(thread_id, 0.0) <= first:
            pass
    finally:
        os.sched_setaffinity(0, before)
        other.kill()
        other.wait(DEADLINE_S)


def test_work_within_the_limit_continues() -> None:
    def expired() -> None:
        raise AssertionError("it was in time")

    for seconds in (600.0, float("inf")):
        with time_limit(seconds, expired):
            pass
    assert not [thread for thread in threading.enumerate() if thread.name == "watchdog"]
    with pytest.raises(ValueError, match="mine"), time_limit(600.0, expired):
        raise ValueError("mine")


HUNG = """
import ctypes, os, re, sys, threading
from pipelines.fault_isolation import watchdog
watchdog.GRACE_S = 0.5
with watchdog.time_limit(0.2, lambda: os.write(1, b"expired")):
    {work}
print("came back")
"""


@pytest.mark.parametrize(
    ("work", "output"),
    [
        ("threading.Event().wait()", "expired"),
        ("os.read(os.pipe()[0], 1)", "expired"),
        ("ctypes.CDLL(None).pause()", "expired"),
        ("while True: pass", "expired"),
        ("ctypes.PyDLL(None).pause()", ""),
        ("re.match('(a+)+$', 'a' * 60 + 'b')", ""),
    ],
    ids=["asleep", "blocked", "in C", "loop", "holding the interpreter", "loop holding it"],
)
def test_hanging_work_ends_its_process(work: str, output: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HUNG.format(work=work)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, output), done.stderr
    if not output:
        assert "Timeout" in done.stderr, "with the stack of the hanging thread"
