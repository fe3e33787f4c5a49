"""Commands run as a user runs them: a real process, its exit code and its two streams."""

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
    """Exit 1, nothing on standard output, one line that names the thing and no traceback."""
    assert run.returncode == 1, run.stderr
    assert run.stdout == ""
    (line,) = run.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line
