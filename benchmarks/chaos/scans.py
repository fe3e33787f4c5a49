"""A scan in its own process, with quick models and a clock that may jump.

python -m benchmarks.chaos.scans SOURCE CATALOG [--manifest FILE] [--again]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcn.crystals import Classified
from mcn.mask import Mask, masks_from_labels
from mcn.taxonomy import CALCITE

ROOT = Path(__file__).parents[2]
SECONDS_PER_TILE = 0.15
LONGEST_S = 600.0
"""A scan that takes longer than this hangs, even on a busy machine."""
CLOCK = "MCN_CHAOS_CLOCK"
"""Environment variable with the file that says how many seconds a scan's clock is off."""


class QuickSegmenter:
    """Segments connected bright patches, and takes as long as a small model."""

    name = "patches@000000000000"

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        from scipy.ndimage import label

        time.sleep(SECONDS_PER_TILE * len(images))
        return [masks_from_labels(label(image > 100)[0]) for image in images]


class QuickClassifier:
    """Classifies by the brightness of four parts of a crop."""

    name = "mean@000000000000"
    taxonomy = CALCITE

    def classify(self, crops: NDArray[np.uint8]) -> Classified:
        p = crops.reshape(len(crops), 4, -1).mean(axis=2, dtype=np.float32) + 1
        p = np.asarray(p / p.sum(axis=1, keepdims=True), np.float32)
        return Classified(p, p.max(axis=1))


def start_scan(
    address: str, source: Path | str, catalog: Path | str, *options: str, clock: Path | None = None
) -> subprocess.Popen[str]:
    """Start a scan on the Ray cluster with this address."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.chaos.scans", str(source), str(catalog), *options],
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": address, CLOCK: str(clock or "")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(scan: subprocess.Popen[str], must: bool = False) -> dict[str, Any] | None:
    """The summary of a scan that succeeded; None if it failed."""
    output, errors = scan.communicate(timeout=LONGEST_S)
    if scan.returncode == 0:
        summary: dict[str, Any] = json.loads(output.splitlines()[-1])
        return summary
    if must:
        raise RuntimeError(f"an undisturbed scan failed:\n{errors[-3000:]}")
    return None


def main() -> None:
    from pipelines.models import ScanModels
    from pipelines.scan import ScanSettings, run_scan

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("catalog")
    parser.add_argument("--manifest")
    parser.add_argument("--again", action="store_true", help="repeat tiles that failed before")
    options = parser.parse_args()
    models = ScanModels(QuickSegmenter.name, QuickClassifier.name, QuickSegmenter, QuickClassifier)
    settings = ScanSettings(
        commit_tiles=8,
        commit_seconds=1.0,
        manifest=options.manifest,
        retry_failed=options.again,
        stages=("segment.most=3", "segment.least=2", "segment.cpus=0.5"),
    )
    if clock := os.environ.get(CLOCK):
        follow_clock(Path(clock))
    print(json.dumps(asdict(run_scan(options.source, options.catalog, settings, models))))


def follow_clock(clock: Path) -> None:
    """Let the wall clock of this process's catalogue be as many seconds off as a file says.

    Only of the project's modules: Ray hangs when its clock is replaced.
    """

    def offset() -> float:
        return float(clock.read_text() or 0)

    class OfAnyKind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class JumpingClock(datetime, metaclass=OfAnyKind):
        """The time of day, which jumps."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=offset())

    jumping = types.ModuleType("time")
    vars(jumping).update(vars(time), time=lambda: time.time() + offset())
    for name, module in list(sys.modules.items()):
        if name.startswith(("mcn.", "pipelines.")):
            if getattr(module, "datetime", None) is datetime:
                module.datetime = JumpingClock  # type: ignore[attr-defined]
            if getattr(module, "time", None) is time:
                module.time = jumping  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
