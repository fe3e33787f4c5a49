"""Waiting in tests: for an event, with a deadline that suits a busy machine."""

import subprocess
import time
from collections.abc import Callable
from typing import Any, Final

DEADLINE_S: Final = 280.0
"""A little less than pytest's own limit, so that a test can report what did not happen."""


def wait_until(
    happened: Callable[[], Any],
    event: str,
    process: subprocess.Popen[Any] | None = None,
    seconds: float = DEADLINE_S,
) -> Any:
    """Poll until the result is true, and return it; also stops when a given process ends."""
    until = time.monotonic() + seconds
    while not (answer := happened()):
        ended = process is not None and process.poll() is not None
        # An event just before the end counts.
        if ended and (answer := happened()):
            break
        assert not ended, f"the process ended before {event}"
        assert time.monotonic() < until, f"{event}: not within {seconds:g} s"
        time.sleep(0.05)
    return answer
