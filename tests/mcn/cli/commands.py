"""Run commands as a user does: a real process with an exit code and two streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ...waiting import DEADLINE_S

MCN = Path(sys.executable).parent / "mcn"


def mcn(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [MCN, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        cwd=cwd,
        env=environment,
    )


def refused(run: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Check for exit 1, empty standard output, and one line that has the name and no traceback."""
    assert run.returncode == 1, run.stderr
    assert run.stdout == ""
    (line,) = run.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line
