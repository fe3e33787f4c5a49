"""Scans of which parts are killed at random moments, and the catalogues that they leave.

In each run a scan on a Ray cluster of three nodes loses a worker's actor, a node and its driver,
in random order and at random moments. A scan that ended is started again, until it completes.
Every catalogue must equal that of an uninterrupted scan: the same crystals, none twice, none
missing, and no file that no snapshot names.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .cluster import actors, add_node, kill_node, kill_one, start_cluster
from .content import content, difference, draw_core
from .scans import LONGEST_S, finish, start_scan

NODES = 3
VICTIMS = ("actor", "node", "driver")
COMMIT_TILES = 8


def kills(folder: Path, tiles: int, kills: int, rng: random.Random) -> dict[str, Any]:
    """Kill parts of scans, and compare each catalogue with that of an uninterrupted scan."""
    source = draw_core(folder / "core", tiles)
    cluster = start_cluster(NODES)
    try:
        started = time.monotonic()
        finish(start_scan(cluster.address, source, folder / "calm"), must=True)
        seconds = time.monotonic() - started
        expected = content(folder / "calm")
        assert expected["crystals"], "the uninterrupted scan found no crystals"
        killed: Counter[str] = Counter()
        left: list[int] = []
        differences: list[dict[str, Any]] = []
        runs = scans = 0
        while killed.total() < kills:
            catalog = folder / f"run-{runs}"
            hit, run_scans, summary = killed_scan(cluster, source, catalog, rng, seconds, tiles)
            catalogue = content(catalog)
            shutil.rmtree(catalog)
            killed.update(hit)
            runs, scans = runs + 1, scans + run_scans
            left.append(summary["tiles_ok"])
            if catalogue != expected:
                differences.append(difference(catalogue, expected))
            minutes = (time.monotonic() - started) / 60
            shown = {"killed": hit, "scans": run_scans, "same": catalogue == expected}
            print(f"{minutes:.1f} min: {json.dumps(shown)}", file=sys.stderr, flush=True)
        together = both_at_once(cluster, source, folder, expected)
    finally:
        cluster.shutdown()
    return {
        "tiles": tiles,
        "crystals": len(expected["crystals"]),
        "undisturbed_s": round(seconds, 1),
        "kills": dict(killed),
        "runs": runs,
        "scans": scans,
        "left_for_the_last_scan": left,
        "two_at_once": together,
        "faults": len(differences) + (not together["same"]),
        "differences": differences,
    }


def killed_scan(
    cluster: Any, source: Path, catalog: Path, rng: random.Random, seconds: float, tiles: int
) -> tuple[list[str], int, dict[str, Any]]:
    """Kill one part of each kind; what was killed, the scans that it took, and the last summary."""
    victims = rng.sample(VICTIMS, len(VICTIMS))
    hit = []
    scans = 1
    scan = start_scan(cluster.address, source, catalog)
    for victim in victims:
        if scan.poll() is not None:
            finish(scan)
            scan = start_scan(cluster.address, source, catalog)
            scans += 1
        # Some die while the scan starts, and most between two commits.
        commits = rng.randint(0, tiles // COMMIT_TILES // 2)
        moment = rng.uniform(0, 0.5) * (1 if commits else seconds)
        if wait_for_commits(scan, catalog, commits, moment) and kill(cluster, scan, victim, rng):
            hit.append(victim)
    summary = finish(scan)
    if summary is None:
        summary = finish(start_scan(cluster.address, source, catalog), must=True)
        scans += 1
    assert summary is not None
    return hit, scans, summary


def wait_for_commits(
    scan: subprocess.Popen[str], catalog: Path, commits: int, moment: float
) -> bool:
    """Wait for further commits and then some seconds; False if the scan has ended before."""
    log = catalog / "tiles" / "_delta_log"
    last = len(list(log.glob("*.json"))) + commits
    until = time.monotonic() + LONGEST_S
    while len(list(log.glob("*.json"))) < last:
        if scan.poll() is not None:
            return False
        if time.monotonic() > until:
            raise TimeoutError("the scan hangs")
        time.sleep(0.01)
    try:
        scan.wait(moment)
    except subprocess.TimeoutExpired:
        return True
    return False


def kill(cluster: Any, scan: subprocess.Popen[str], victim: str, rng: random.Random) -> bool:
    """Kill a part of a scan; False if it has ended before."""
    if victim == "driver":
        scan.kill()
        scan.wait(LONGEST_S)
        return True
    if victim == "node":
        kill_node(cluster, rng)
        add_node(cluster)
        return True
    until = time.monotonic() + LONGEST_S
    while not kill_one(actors(cluster), rng):
        if scan.poll() is not None:
            return False
        if time.monotonic() > until:
            raise TimeoutError("the scan has no actors")
        time.sleep(0.05)
    return True


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
        scans.append(
            start_scan(cluster.address, source, folder / "both", "--manifest", str(manifest))
        )
    summaries = [finish(scan, must=True) for scan in scans]
    catalogue = content(folder / "both")
    return {
        "tiles": [summary["tiles_ok"] for summary in summaries if summary],
        "same": catalogue == expected,
        "difference": difference(catalogue, expected),
    }
