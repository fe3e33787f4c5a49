"""Kills and a bad night: what a scan and an endpoint lose, double or answer uncleanly.

First parts of scans are killed (`kills.py`), and two scans of overlapping sources write to one
catalogue at the same time. Then comes a bad night (`night.py`). Prints one JSON object.

    python -m benchmarks.chaos [--kills N] [--night SECONDS] [--tiles N] [--seed S]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from .kills import kills
from .night import bad_night

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        "python -m benchmarks.chaos", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--night", type=float, default=600, help="seconds of random faults at once")
    parser.add_argument("--tiles", type=int, default=120, help="of the scans that are killed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    report: dict[str, Any] = {"faults": 0}
    if options.kills:
        with tempfile.TemporaryDirectory(prefix="mcn-chaos-") as folder:
            report = kills(Path(folder), options.tiles, options.kills, rng)
    if options.night:
        report["night"] = bad_night(options.night, rng)
        report["faults"] += len(report["night"]["wrong"])
    print(json.dumps(report))
    sys.exit(0 if report["faults"] == 0 else 1)
