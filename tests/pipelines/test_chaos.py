"""A scan that is killed and run again gives the same catalogue as an uninterrupted one.

One short run of `make chaos`: an actor, a node and the driver are killed.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_scans_lose_and_duplicate_nothing() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.chaos", "--night", "0"),
            *("--kills", "3", "--tiles", "48", "--seed", "3"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3500,
        check=False,
    )
    assert done.stdout, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["faults"] == 0, report
    assert sum(report["kills"].values()) >= 3
    assert report["crystals"] > 400
    assert report["two_at_once"]["same"]
