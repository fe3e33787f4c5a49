"""Rendered intervals of known make get the names that they were made for, by every scheme."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ..waiting import DEADLINE_S

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_intervals_of_known_make_get_their_names() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.textures", "--tiles", "8", "--floor", "0.95"],
        capture_output=True,
        text=True,
        timeout=5 * DEADLINE_S,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    makes = json.loads(run.stdout)["makes"]
    for name, make in makes.items():
        assert make["crystals"] > 100, name
        textures = [texture for texture, _ in make["called"].values()]
        assert "not told" not in textures, name
