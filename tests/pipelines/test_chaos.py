"""A short `make chaos`: killed scans leave the same catalogue, and a bad night harms nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(3600)]


def chaos(*options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3500,
        check=False,
    )
    assert done.stdout, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["faults"] == 0, (report, done.stderr[-3000:])
    return report


def test_killed_scans_lose_and_duplicate_nothing() -> None:
    """An actor, a node and the driver are killed."""
    report = chaos("--kills", "3", "--tiles", "48", "--seed", "3", "--night", "0")
    assert sum(report["kills"].values()) >= 3
    assert report["crystals"] > 400
    assert report["two_at_once"]["same"]


def test_a_bad_night_loses_nothing_and_every_request_ends_cleanly() -> None:
    report = chaos("--kills", "0", "--night", "30")["night"]
    assert sum(report["faults"].values()) >= 3
    assert report["requests"]["/v1/analyze 200"] > 0
    assert report["scans"]["in quiet: tiles of s3://catalog/calm"] >= 48
