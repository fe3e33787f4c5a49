"""The faults of a bad night; each lasts for some seconds, or leaves something to recover from."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from .cluster import SCAN_ACTORS, actors, add_node, kill_node, kill_one
from .services import WAIT_S, Night

PAUSE_S = (2.0, 7.0)
"""Time between the starts of two faults."""
LASTING_S = (3.0, 12.0)
DISK_IS_FULL = "disk is full"
HOG_BYTES = 1_500_000_000
KINDS = ("Segmenter", "Classifier", "Ingress", "CatalogReader")
REPLICAS = tuple(f"ray::ServeReplica:mcn:{kind}" for kind in KINDS)


def storage_fails(night: Night) -> None:
    """A share of the requests is refused, stalls, or loses its response."""
    night.services.storage.share = night.rng.uniform(0.2, 0.8)
    lasts(night)
    night.services.storage.share = 0.0


def storage_is_gone(night: Night) -> None:
    """No connection to the store holds."""
    storage = night.services.storage
    storage.refuses = True
    lasts(night)
    storage.refuses = False


def catalogue_is_moved(night: Night) -> None:
    """There is no such bucket."""
    night.services.storage.missing_bucket = "catalog"
    lasts(night)
    night.services.storage.missing_bucket = None


def scan_worker_dies(night: Night) -> None:
    kill_one(actors(night.services.cluster), night.rng)


def scan_is_killed(night: Night) -> None:
    if night.scan is not None:
        night.scan.kill()


def replica_dies(night: Night) -> None:
    number = night.rng.randrange(len(KINDS))
    if kill_one(actors(night.services.cluster, REPLICAS[number : number + 1]), night.rng):
        night.faults[f"  {KINDS[number]} died"] += 1


def node_dies(night: Night) -> None:
    """A machine disappears, and a new one comes later."""
    kill_node(night.services.cluster, night.rng)
    lasts(night)
    night.nodes_to_add += 1


def disk_is_full(night: Night) -> None:
    filler = night.services.disk / "filler"
    with suppress(OSError), filler.open("wb") as out:
        while not night.over.is_set():
            out.write(bytes(2**20))
    lasts(night)
    filler.unlink(missing_ok=True)


def clock_jumps(night: Night) -> None:
    night.services.clock.write_text(f"{night.rng.choice((-7200, -60, 60, 7200)):+d}")
    lasts(night)
    night.services.clock.write_text("+0")


def memory_is_short(night: Night) -> None:
    """Something takes memory, and the largest process is ended, as in a container."""
    hold = f"import time; held = bytearray(b'1') * {HOG_BYTES}; time.sleep(60)"
    hog = subprocess.Popen([sys.executable, "-c", hold])
    try:
        night.over.wait(2)
        sizes = []
        for pid in actors(night.services.cluster, (*SCAN_ACTORS, *REPLICAS)):
            with suppress(psutil.Error):
                sizes.append((psutil.Process(pid).memory_info().rss, pid))
        kill_one([pid for _, pid in sorted(sizes)[-1:]], night.rng)
    finally:
        hog.kill()
        hog.wait(WAIT_S)


def redis_is_gone(night: Night) -> None:
    redis = night.services.redis
    assert redis is not None
    redis.stop()
    lasts(night)
    redis.start()


FAULTS: dict[str, Callable[[Night], None]] = {
    "storage fails": storage_fails,
    "storage is gone": storage_is_gone,
    "catalogue is moved": catalogue_is_moved,
    "scan worker dies": scan_worker_dies,
    "scan is killed": scan_is_killed,
    "replica dies": replica_dies,
    "node dies": node_dies,
    DISK_IS_FULL: disk_is_full,
    "clock jumps": clock_jumps,
    "memory is short": memory_is_short,
    "redis is gone": redis_is_gone,
}


def at_hand(night: Night) -> list[str]:
    """The faults that this machine allows."""
    missing = {
        DISK_IS_FULL: not os.path.ismount(night.services.disk),
        "redis is gone": night.services.redis is None,
    }
    return [name for name in FAULTS if not missing.get(name)]


def begin(night: Night, name: str) -> None:
    """Run a fault; one that cannot be done is a fault of this script."""
    try:
        FAULTS[name](night)
    except Exception as error:
        night.complain(f"the fault was not done: {name}: {error!r}")


def lasts(night: Night) -> None:
    """Wait for as long as a fault lasts."""
    night.over.wait(night.rng.uniform(*LASTING_S))


def break_things(night: Night, seconds: float) -> None:
    """Start a fault every few seconds, each kind once at least if there is time for all.

    Several last at once; a kind is not started again while it lasts.
    """
    until = time.monotonic() + seconds
    lasting: dict[str, threading.Thread] = {}
    names = at_hand(night)
    while time.monotonic() < until:
        free = [name for name in names if name not in lasting]
        fewest = min((night.faults[name] for name in free), default=0)
        free = [name for name in free if night.faults[name] <= fewest + 1]
        if free:
            name = night.rng.choice(free)
            night.faults[name] += 1
            print(f"{until - time.monotonic():4.0f} s left: {name}", file=sys.stderr, flush=True)
            lasting[name] = threading.Thread(target=begin, args=(night, name), daemon=True)
            lasting[name].start()
        time.sleep(night.rng.uniform(*PAUSE_S))
        lasting = {name: thread for name, thread in lasting.items() if thread.is_alive()}
        if DISK_IS_FULL not in lasting:  # A node needs space for its log to start.
            add_nodes(night)
    for name, thread in lasting.items():
        thread.join(WAIT_S)
        if thread.is_alive():
            night.complain(f"a fault did not end: {name}")
    add_nodes(night)
    if night.nodes_to_add:
        night.complain("a node cannot be replaced")


def add_nodes(night: Night) -> None:
    """Replace the nodes that died: Ray starts a node from the main thread only.

    One that cannot start on this busy machine may start later.
    """
    while night.nodes_to_add:
        try:
            add_node(night.services.cluster)
        except Exception as error:  # Ray has no class for it
            print(f"a node did not start: {error}", file=sys.stderr, flush=True)
            return
        night.nodes_to_add -= 1
