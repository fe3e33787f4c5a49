"""A scan that is killed and run again gives the same catalogue as an uninterrupted one.

Three short runs of `make chaos`: an actor, a node and the driver are killed.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_scans_lose_and_duplicate_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(CHAOS), "--runs", "3", "--tiles", "48", "--seed", "3"],
        capture_output=True,
        text=True,
        timeout=3500,
        check=False,
    )
    assert done.stdout, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["faults"] == 0, report
    assert report["victims"] == {"actor": 1, "raylet": 1, "driver": 1}
    assert report["crystals"] > 400
    assert report["two_at_once"]["same"]
