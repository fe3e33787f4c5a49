"""Scans that are killed at random moments, and the catalogues that they leave.

A scan of some tiles (120 by default) runs repeatedly on a Ray cluster of three nodes. Each time
a worker's actor, a node or the driver is killed (`kill -9`) at a random moment, then the scan is
run again until it completes. Every catalogue must equal that of an uninterrupted scan: the same
crystals, none twice, none missing, and no file that no snapshot names. Then two scans of
overlapping sources write to one catalogue at the same time. With `--night`, a bad night follows
(`night.py`). Prints one JSON object.

    python benchmarks/chaos.py [--runs N] [--seed S] [--night SECONDS]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

from mcn.catalog.active_files import files
from mcn.catalog.query import query, sql
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import verify
from mcn.crystals import Classified
from mcn.mask import Mask, masks_from_labels
from mcn.taxonomy import CALCITE

NODES = 3
VICTIMS = ("actor", "raylet", "driver")
SECONDS_PER_TILE = 0.15
LONGEST_S = 600.0
"""A scan that takes longer than this hangs, even on a busy machine."""


class PatchSegmenter:
    """Segments connected bright patches, and takes as long as a small model."""

    name = "patches@000000000000"

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        from scipy.ndimage import label

        time.sleep(SECONDS_PER_TILE * len(images))
        return [masks_from_labels(label(image > 100)[0]) for image in images]


class BrightnessClassifier:
    """Classifies by the brightness of four parts of a crop."""

    name = "mean@000000000000"
    taxonomy = CALCITE

    def classify(self, crops: NDArray[np.uint8]) -> Classified:
        p = crops.reshape(len(crops), 4, -1).mean(axis=2, dtype=np.float32) + 1
        p = np.asarray(p / p.sum(axis=1, keepdims=True), np.float32)
        return Classified(p, p.max(axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--tiles", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--night", type=float, default=0, help="seconds of random faults at once")
    parser.add_argument("--drive", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        drive(*options.drive)
        return
    rng = random.Random(options.seed)
    report: dict[str, Any] = {"faults": 0}
    if options.runs:
        with tempfile.TemporaryDirectory(prefix="mcn-chaos-") as folder:
            report = chaos(Path(folder), options.tiles, options.runs, rng)
    if options.night:
        from night import bad_night

        report["night"] = bad_night(options.night, rng)
        report["faults"] += len(report["night"]["wrong"])
    print(json.dumps(report))
    sys.exit(0 if report["faults"] == 0 else 1)


def drive(source: str, catalog: str, manifest: str = "", again: str = "") -> None:
    """Run one scan in this process; `again` repeats tiles that failed before."""
    from pipelines.models import ScanModels
    from pipelines.scan import ScanSettings, run_scan

    models = ScanModels(
        PatchSegmenter.name, BrightnessClassifier.name, PatchSegmenter, BrightnessClassifier
    )
    settings = ScanSettings(
        commit_tiles=8,
        commit_seconds=1.0,
        manifest=manifest or None,
        retry_failed=bool(again),
        stages=("segment.most=3", "segment.least=2", "segment.cpus=0.5"),
    )
    if clock := os.environ.get("MCN_CHAOS_CLOCK"):
        follow_clock(Path(clock))
    print(json.dumps(asdict(run_scan(source, catalog, settings, models))))


def follow_clock(clock: Path) -> None:
    """Let this process's wall clock be as many seconds off as a file says.

    In Python only: below it, Ray hangs when its clock is replaced.
    """
    real_time = time.time

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

    time.time = lambda: real_time() + offset()
    for name, module in list(sys.modules.items()):
        ours = name.startswith(("mcn.", "pipelines."))
        if ours and getattr(module, "datetime", None) is datetime:
            module.datetime = JumpingClock  # type: ignore[attr-defined]


def chaos(folder: Path, tiles: int, runs: int, rng: random.Random) -> dict[str, Any]:
    """Kill scans at random moments and compare their catalogues with an uninterrupted one."""
    from ray.cluster_utils import Cluster

    source = draw_core(folder / "core", tiles)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 128 * 2**20}
    )
    try:
        for _ in range(NODES - 1):
            add_node(cluster)
        started = time.monotonic()
        finish(start(cluster, source, folder / "calm"), must=True)
        seconds = time.monotonic() - started
        expected = content(folder / "calm")
        assert expected["crystals"], "the uninterrupted scan found no crystals"
        report: list[dict[str, Any]] = []
        while len(report) < runs:
            victim = VICTIMS[len(report) % len(VICTIMS)]
            catalog = folder / f"run-{len(report)}"
            # Kill some scans while they start, and most between the first and the last commit.
            commits = rng.randint(0, tiles // 12)
            moment = rng.uniform(0.2, 0.5) * seconds if commits == 0 else rng.uniform(0, 0.5)
            scan = start(cluster, source, catalog)
            killed = kill_during(cluster, scan, victim, moment, rng, catalog, commits)
            ended = finish(scan)
            rerun = finish(start(cluster, source, catalog), must=True)
            catalogue = content(catalog)
            shutil.rmtree(catalog)
            run = {
                "victim": victim,
                "killed": killed,
                "after_commits": commits,
                "and_s": round(moment, 2),
                "ended": ended is not None,
                "left_for_the_next": rerun["tiles_ok"] if rerun else None,
                "same": catalogue == expected,
                "difference": difference(catalogue, expected),
            }
            print(json.dumps(run), file=sys.stderr, flush=True)
            # A scan that ended before it was killed counts only if its catalogue differs.
            if killed or not run["same"]:
                report.append(run)
        together = both_at_once(cluster, source, folder, expected)
    finally:
        cluster.shutdown()
    return {
        "tiles": tiles,
        "crystals": len(expected["crystals"]),
        "undisturbed_s": round(seconds, 1),
        "left_for_the_next": [run["left_for_the_next"] for run in report],
        "runs": runs,
        "victims": Counter(run["victim"] for run in report if run["killed"]),
        "went_on_by_themselves": sum(run["ended"] for run in report),
        "two_at_once": together,
        "faults": sum(not run["same"] for run in report) + (not together["same"]),
        "differences": [run["difference"] for run in report if not run["same"]],
    }


def both_at_once(
    cluster: Any, source: Path, folder: Path, expected: dict[str, Any]
) -> dict[str, Any]:
    """Run two scans that share a third of the tiles into one catalogue at the same time."""
    paths = sorted(source.rglob("*.png"), key=lambda path: int(path.stem))
    third = len(paths) // 3
    scans = []
    for name, scan_paths in (("one", paths[: 2 * third]), ("two", paths[third:])):
        manifest = folder / f"{name}.csv"
        lines = ["uri,well,depth_m"]
        for path in scan_paths:
            well, depth = path.parts[-3:-1]
            lines.append(f"{path},{well.partition('=')[2]},{depth.partition('=')[2]}")
        manifest.write_text("\n".join(lines))
        scans.append(start(cluster, source, folder / "both", manifest))
    summaries = [finish(scan, must=True) for scan in scans]
    catalogue = content(folder / "both")
    return {
        "tiles": [summary["tiles_ok"] for summary in summaries if summary],
        "same": catalogue == expected,
        "difference": difference(catalogue, expected),
    }


def draw_core(root: Path, tiles: int) -> Path:
    rng = np.random.default_rng(7)
    for number in range(tiles):
        folder = root / f"well={'ABC'[number * 3 // tiles]}" / f"depth={1000 + number}"
        folder.mkdir(parents=True)
        pixels = rng.integers(20, 40, (120, 160), dtype=np.uint8)
        for y, x, h, w in rng.integers((2, 2, 5, 5), (95, 135, 20, 20), (12, 4)):
            pixels[y : y + h, x : x + w] = 200
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def content(catalog: Path) -> dict[str, Any]:
    """Everything that must be equal: rows as readers see them, and stored rows and files."""
    opened = Catalog.open(catalog)
    visible_rows = query(opened).drop_columns(["scanned_at"]).to_pylist()
    report = verify(opened)
    logged_files = {
        f"{name}/{path}"
        for name in ("tiles", "crystals")
        for version in range(getattr(opened.snapshot(), name).version + 1)
        for path in added(Path(opened.uri, name, "_delta_log", f"{version:020d}.json"))
    }
    stored_files = {str(path.relative_to(catalog)) for path in catalog.rglob("part-*")}
    return {
        "crystals": {row["crystal_id"]: json.dumps(row, sort_keys=True) for row in visible_rows},
        "crystals_seen": len(visible_rows),
        "tiles": sorted(
            (row["uri"], row["status"], row["n_crystals"])
            for row in sql(opened, "SELECT uri, status, n_crystals FROM tiles").to_pylist()
        ),
        "rows": {
            name: sum(files(getattr(opened.snapshot(), name))["num_records"].to_pylist())
            for name in ("tiles", "crystals")
        },
        "problems": [*report.problems, *sorted(stored_files - logged_files)],
        "orphans": report.orphan_crystals,
        "entries": [path.name for path in (catalog / "_scans").glob("*")],
    }


def added(log: Path) -> list[str]:
    from urllib.parse import unquote

    actions = [json.loads(line) for line in log.read_text().splitlines()]
    return [unquote(action["add"]["path"]) for action in actions if "add" in action]


def difference(catalogue: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    differences = {
        name: catalogue[name] if name not in ("crystals", "tiles") else len(catalogue[name])
        for name in expected
        if catalogue[name] != expected[name]
    }
    if catalogue["crystals"] != expected["crystals"]:
        differences["missing"] = len(expected["crystals"].keys() - catalogue["crystals"].keys())
        differences["extra"] = len(catalogue["crystals"].keys() - expected["crystals"].keys())
    return differences


def start(
    cluster: Any, source: Path, catalog: Path, manifest: Path | str = ""
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, "--drive", str(source), str(catalog), str(manifest)],
        env={**os.environ, "RAY_ADDRESS": cluster.address},
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


def kill_during(
    cluster: Any,
    scan: subprocess.Popen[str],
    victim: str,
    moment: float,
    rng: random.Random,
    catalog: Path,
    commits: int,
) -> bool:
    """Kill a part of a scan after this many commits and seconds; False if it had ended."""
    log = catalog / "tiles" / "_delta_log" / f"{commits:020d}.json"
    until = time.monotonic() + LONGEST_S
    while commits and scan.poll() is None and not log.exists() and time.monotonic() < until:
        time.sleep(0.01)
    try:
        scan.wait(moment)
        return False
    except subprocess.TimeoutExpired:
        pass
    if victim == "driver":
        scan.kill()
        return True
    if victim == "raylet":
        node = rng.choice(sorted(cluster.worker_nodes, key=lambda node: node.node_id))
        cluster.remove_node(node, allow_graceful=False)
        add_node(cluster)
        return True
    while not (actors := workers(cluster)):
        if scan.poll() is not None or time.monotonic() > until:
            return False
        time.sleep(0.05)
    try:
        os.kill(rng.choice(actors), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


SCAN_ACTORS = ("ray::MapWorker", "ray::AttemptLog", "ray::ReadTiles")


def workers(cluster: Any, kinds: tuple[str, ...] = SCAN_ACTORS) -> list[int]:
    """Process ids of Ray actors on this cluster's nodes: of a scan, or those with these names."""
    pids = []
    for node in cluster.list_all_nodes():
        try:
            raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
            workers = raylet.children(recursive=True)
        except psutil.NoSuchProcess:
            continue
        for worker in workers:
            with suppress(psutil.Error):
                if "".join(worker.cmdline()).startswith(kinds):
                    pids.append(worker.pid)
    return sorted(pids)


def add_node(cluster: Any) -> None:
    cluster.add_node(num_cpus=1, object_store_memory=128 * 2**20)


if __name__ == "__main__":
    main()
