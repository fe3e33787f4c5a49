"""Waiting in tests: for what is to happen, and with one deadline that a busy machine can keep."""

import subprocess
import time
from collections.abc import Callable
from typing import Any, Final

DEADLINE_S: Final = 280.0
"""A little less than pytest's own limit, so that a test says itself what did not happen."""


def wait_until(
    happened: Callable[[], Any],
    what: str,
    process: subprocess.Popen[Any] | None = None,
    seconds: float = DEADLINE_S,
) -> Any:
    """Ask until the answer is true, and give it back; a process that ends ends the wait too."""
    until = time.monotonic() + seconds
    while not (answer := happened()):
        ended = process is not None and process.poll() is not None
        # What happened just before the end counts.
        if ended and (answer := happened()):
            break
        assert not ended, f"the process ended before {what}"
        assert time.monotonic() < until, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return answer
