"""Measure the cost of a scan over its models: efficiency, overhead, scaling and memory.

- efficiency: tiles per second of a scan, relative to the same models in a plain loop on the same
  cores, both on a rendered core, without start-up;
- overhead: seconds per tile of a scan with models that do nothing;
- scaling: tiles per second with 32 workers of a model that takes one second per tile on a
  (simulated) GPU, relative to the ideal 32;
- memory: the peak of driver and workers at 1,000 and at 20,000 tiles;
- sharing: tiles per second of a scan with 1, 2, 4 and 8 segmenters on one GPU, where there is one.

Times are taken from the first to the last commit, without the start-up. Prints one JSON object.

    python benchmarks/scan.py [--only PART …] [--tiles N] [--pairs N]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcn.crystals import Classified
from mcn.mask import Mask
from mcn.taxonomy import CALCITE

PROCESSES = (
    "driver", "ReadTiles", "MapBatches(SegmentTiles", "MapBatches(ClassifyTiles", "WriteTiles",
    "AttemptLog",
)  # fmt: skip
PARTS = ("efficiency", "overhead", "scaling", "memory", "sharing")


class Idle:
    """A model that takes a fixed time per tile and finds nothing."""

    name = "idle@000000000000"
    taxonomy = CALCITE

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        if self._seconds:
            time.sleep(self._seconds * len(images))
        return [[] for _ in images]

    def classify(self, crops: NDArray[np.uint8]) -> Classified:
        raise AssertionError("there are no crystals to classify")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--tiles", type=int, default=200, help="tiles of the core for efficiency")
    parser.add_argument(
        "--pairs", type=int, default=1, help="number of loops and of scans, in turn"
    )
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        part, arguments = options.worker
        print(json.dumps(globals()[f"_{part}"](**json.loads(arguments))))
        return
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mcn-bench-") as folder:
        for part in options.only:
            report |= globals()[part](Path(folder), options)
    print(json.dumps(report))


def run_part(part: str, **arguments: Any) -> dict[str, Any]:
    """Run a part in its own process, as a user would, and add its peak memory."""
    with peak_memory() as peak:
        process = subprocess.Popen(
            [sys.executable, __file__, "--worker", part, json.dumps(arguments)],
            stdout=subprocess.PIPE,
            text=True,
        )
        peak.pid = process.pid
        measured, _ = process.communicate(timeout=7200)
    assert process.returncode == 0
    return {**json.loads(measured.splitlines()[-1]), "memory_mib": peak.mib}


def scanned(part: str, catalog: Path, **arguments: Any) -> dict[str, Any]:
    """Scan in its own process; read the rate here, so that it needs no memory there."""
    measured = run_part(part, catalog=str(catalog), **arguments)
    return {"tiles_per_second": commit_rate(str(catalog)), **measured}


def efficiency(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run loops and scans in turn; reports the best of each."""
    from mcn.synthetic.core import render_core

    core = folder / "rendered"
    render_core(core, wells=3, tiles=options.tiles, seed=5, workers=os.cpu_count() or 1)
    scans, loops = [], []
    for number in range(options.pairs):
        loops.append(run_part("loop", core=str(core))["tiles_per_second"])
        scans.append(
            scanned("scan", folder / f"efficiency-{number}", core=str(core))["tiles_per_second"]
        )
        say(f"loop {loops[-1]:.3f} tiles/s, scan {scans[-1]:.3f} tiles/s")
    return {
        "efficiency": round(max(scans) / max(loops), 3),
        "efficiency_scans": scans,
        "efficiency_loops": loops,
        "efficiency_tiles": options.tiles,
    }


def overhead(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    core = draw(folder / "small", 4000)
    measured = scanned("idle", folder / "overhead", core=str(core), seconds=0.0)
    say(f"overhead {measured}")
    return {"overhead_ms_a_tile": round(1000 / measured["tiles_per_second"], 2)}


def scaling(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """32 workers of one second per tile, as SAM takes on a GPU; linear is 32 tiles per second."""
    workers, seconds = 32, 1.0
    measured = scanned(
        "idle",
        folder / "scaled",
        core=str(draw(folder / "scaling", 60 * workers)),
        seconds=seconds,
        gpus=workers,
    )
    rate = measured["tiles_per_second"]
    say(f"{workers} workers: {rate:.3f} tiles/s")
    return {
        "scaling_workers": workers,
        "scaling_tiles_per_second": round(rate, 2),
        "scaling_of_linear": round(rate * seconds / workers, 3),
    }


def memory(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Tiles of 512 × 512 pixels, so that growing memory is seen; listed in a manifest."""
    peaks_by_tiles = {}
    for tiles in (1000, 20_000):
        core = draw(folder / f"memory-{tiles}", tiles, side=512)
        measured = scanned(
            "idle",
            folder / f"filled-{tiles}",
            core=str(core),
            seconds=0.0,
            manifest=str(list_tiles(core)),
        )
        peaks_by_tiles[tiles] = measured["memory_mib"]
        say(f"{tiles} tiles: {measured}")
    names = [
        name
        for name in PROCESSES
        if name in peaks_by_tiles[1000] and name in peaks_by_tiles[20_000]
    ]
    return {
        "memory_mib": {
            tiles: {name: peaks[name] for name in names} for tiles, peaks in peaks_by_tiles.items()
        },
        "memory_growth": {
            name: round(peaks_by_tiles[20_000][name] / peaks_by_tiles[1000][name] - 1, 3)
            for name in names
        },
    }


def sharing(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    from mcn.synthetic.core import render_core

    if not torch.cuda.is_available():
        say("sharing: no GPU")
        return {}
    core = folder / "shared"
    render_core(core, wells=4, tiles=options.tiles, seed=6, workers=os.cpu_count() or 1)
    rates = {}
    for workers in (1, 2, 4, 8):
        measured = scanned(
            "scan",
            folder / f"sharing-{workers}",
            core=str(core),
            stages=[f"segment.most={workers}", f"segment.least={workers}",
                    f"segment.gpus={0.7 / workers:.4f}", "segment.batch=8"],
        )  # fmt: skip
        rates[workers] = round(measured["tiles_per_second"], 2)
        say(f"{workers} segmenters: {rates[workers]} tiles/s")
    return {"sharing_gpu": torch.cuda.get_device_name(), "sharing_tiles_per_second": rates}


def _loop(core: str) -> dict[str, Any]:
    """Run the models of the package on one tile after the other, with all cores."""
    import torch

    from mcn.analyzer import Analyzer
    from mcn.classify import load_classifier
    from mcn.micrograph import read_micrograph
    from mcn.segment import load_segmenter

    torch.set_num_threads(os.cpu_count() or 1)
    analyzer = Analyzer(load_segmenter(), load_classifier())
    paths = sorted(Path(core).glob("well=*/depth=*/*.tif"))
    analyzer.analyze([read_micrograph(paths[0])])
    started = time.perf_counter()
    for path in paths:
        analyzer.analyze([read_micrograph(path)])
    return {"tiles_per_second": len(paths) / (time.perf_counter() - started)}


def _scan(core: str, catalog: str, stages: Sequence[str] = ()) -> dict[str, Any]:
    from pipelines.scan import ScanSettings, run_scan

    run_scan(core, catalog, ScanSettings(commit_tiles=1, stages=("write.batch=4", *stages)))
    return {}


def _idle(
    core: str, catalog: str, seconds: float, gpus: int = 0, manifest: str | None = None
) -> dict[str, Any]:
    import ray

    from pipelines.models import ScanModels
    from pipelines.scan import ScanSettings, run_scan

    stages: tuple[str, ...] = ()
    if gpus:
        # Simulated GPUs: the workers sleep, and Ray places them as it places real ones.
        stages = ("segment.batch=4", "segment.cpus=0.01", "classify.cpus=0.01", "classify.gpus=0",
                  "classify.least=1", "classify.most=1", "read.cpus=0.01", "write.cpus=0.01",
                  "segment.gpus=1", "write.batch=8")  # fmt: skip
        ray.init(
            address="local",
            num_gpus=gpus,
            include_dashboard=False,
            object_store_memory=2**30,
            logging_level="ERROR",
            log_to_driver=False,
        )
    models = ScanModels(Idle.name, Idle.name, partial(Idle, seconds), partial(Idle, seconds))
    settings = ScanSettings(commit_tiles=1, commit_seconds=1.0, stages=stages, manifest=manifest)
    run_scan(core, catalog, settings, models)
    return {}


def commit_rate(catalog: str) -> float:
    """Tiles per second between the first 20 % and the last 5 % of the tiles.

    Each row has the time at which its data file was written.
    """
    from mcn.catalog.query import sql
    from mcn.catalog.store import Catalog

    rows = sql(
        Catalog.open(catalog),
        "SELECT epoch(scanned_at) AS at, count(*) AS n FROM tiles GROUP BY 1 ORDER BY 1",
    )
    at, tiles = rows["at"].to_numpy(), rows["n"].to_numpy().cumsum()
    first = int(np.searchsorted(tiles, tiles[-1] * 0.2))
    last = int(np.searchsorted(tiles, tiles[-1] * 0.95))
    return float((tiles[last] - tiles[first]) / (at[last] - at[first]))


def draw(root: Path, tiles: int, side: int = 64) -> Path:
    """Draw tiles of stripes, which need little disk space, in five wells."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(side), np.arange(side))
    pictures = [(ramp * k % 251).astype(np.uint8) for k in rng.integers(1, 9, 4)]
    for number in range(tiles):
        folder = root / f"well={'ABCDE'[number % 5]}" / f"depth={number // 50}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[number % 4]).save(folder / f"{number}.png", compress_level=1)
    return root


def list_tiles(core: Path) -> Path:
    """A manifest of drawn tiles."""
    manifest = core / "tiles.csv"
    with manifest.open("w") as file:
        file.write("uri,well,depth_m\n")
        for path in core.glob("well=*/depth=*/*.png"):
            well, depth = (part.partition("=")[2] for part in path.parts[-3:-1])
            file.write(f"{path},{well},{depth}\n")
    return manifest


class _PeakMemory:
    """Peak memory of a process and of each kind of Ray's workers, MiB."""

    def __init__(self) -> None:
        self.pid = 0
        self.mib: dict[str, int] = {}

    def update(self) -> None:
        memory_by_kind: dict[str, int] = {}
        for process in Path("/proc").iterdir():
            if not process.name.isdigit():
                continue
            try:
                title = (process / "cmdline").read_bytes().split(b"\0")[0].decode()
                pages = int((process / "statm").read_text().split()[1])
                shared = int((process / "statm").read_text().split()[2])
            except (OSError, IndexError, ValueError):
                continue
            name = "driver" if int(process.name) == self.pid else title
            if name == "driver" or title.startswith("ray::"):
                mib = (pages - shared) * 4096 // 2**20
                kind = name.partition("(")[2].rstrip(")") or name.removeprefix("ray::")
                memory_by_kind[kind] = max(memory_by_kind.get(kind, 0), mib)
        for kind, mib in memory_by_kind.items():
            self.mib[kind] = max(self.mib.get(kind, 0), mib)


@contextmanager
def peak_memory() -> Iterator[_PeakMemory]:
    peak, stopped = _PeakMemory(), threading.Event()

    def watch() -> None:
        while not stopped.wait(0.25):
            peak.update()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stopped.set()
        thread.join(60)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
