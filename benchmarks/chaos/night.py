"""A bad night: random faults at once under a scan and an endpoint with clients.

A Ray cluster of three nodes scans a growing core from an object store into a catalogue there,
again and again, while clients use an endpoint on the same cluster. Every few seconds a fault
begins, and several last at the same time. Afterwards, in quiet, the scan runs once more, and
its catalogue must equal that of a scan without faults: nothing lost, nothing twice. Every request
must have ended in a result, the same as in quiet, or in a problem document.
"""

from __future__ import annotations

import random
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from .content import content, difference, draw_core
from .faults import FAULTS, at_hand, break_things
from .scans import finish, start_scan
from .services import (
    CATALOG_URI,
    TILES_URI,
    TOKEN,
    WAIT_S,
    Night,
    NightServices,
    running_endpoint,
    running_services,
)

TILES, MORE_TILES = 48, 16
CLIENTS = 3
LONGEST_REQUEST_S = 240.0
ANALYZE = "/v1/analyze?masks=none"


def bad_night(seconds: float, rng: random.Random) -> dict[str, Any]:
    """Run the night; `wrong` has everything that should not have happened."""
    with running_services() as services:
        night = Night(services, rng)
        picture = draw_picture(services.folder)
        upload(night, TILES)
        finish(start_night_scan(services), must=True)
        with running_endpoint(night):
            expected = crystals_of(services.url, picture)
            threads = [threading.Thread(target=scan_until_over, args=(night,))]
            threads += [
                threading.Thread(target=request_until_over, args=(night, picture, expected, number))
                for number in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            break_things(night, seconds)
            night.over.set()
            until = time.monotonic() + WAIT_S
            for thread in threads:
                thread.join(until - time.monotonic())
                if thread.is_alive():
                    night.complain("a scan or a client did not end")
            if night.scan is not None:
                night.scan.kill()
            if crystals_of(services.url, picture) != expected:
                night.complain("the endpoint gives no result, or another, after the night")
        compare(night)
        return {
            "seconds": seconds,
            "faults": dict(night.faults),
            "storage_faults": dict(services.storage.done),
            "not_at_hand": sorted(set(FAULTS) - set(at_hand(night))),
            "requests": dict(night.requests),
            "scans": dict(night.scans),
            "tiles": night.tiles,
            "wrong": night.wrong,
        }


def scan_until_over(night: Night) -> None:
    while not night.over.is_set():
        night.scan = start_night_scan(night.services)
        try:
            summary = finish(night.scan)
        except subprocess.TimeoutExpired:
            night.complain("a scan hung")
            night.scan.kill()
            summary = None
        night.scans["completed" if summary else "ended early"] += 1
        if summary and summary["tiles_failed"] == 0 and not night.over.is_set():
            upload(night, night.tiles + MORE_TILES)


def request_until_over(night: Night, picture: bytes, expected: int | None, number: int) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    routes = ("/v1/wells", "/v1/wells/A/crystals?limit=5") if number == 0 else (ANALYZE,)
    with httpx.Client(
        base_url=night.services.url, headers=headers, timeout=LONGEST_REQUEST_S
    ) as client:
        while not night.over.is_set():
            for route in routes:
                name = route.partition("?")[0]
                try:
                    if route == ANALYZE:
                        response = client.post(
                            route, content=picture, headers={"Content-Type": "image/png"}
                        )
                    else:
                        response = client.get(route)
                except httpx.HTTPError as error:
                    night.requests[f"{name} {type(error).__name__}"] += 1
                    night.complain(f"{name}: {type(error).__name__}: {error}")
                    continue
                night.requests[f"{name} {response.status_code}"] += 1
                if fault := fault_of(response, route, expected):
                    night.complain(f"{name}: {fault}")
            night.over.wait(0.2)


def fault_of(response: httpx.Response, route: str, expected: int | None) -> str | None:
    """Why a response is neither the expected result nor a clean error."""
    if response.status_code == 200:
        if route == ANALYZE and len(response.json()["crystals"]) != expected:
            return "another result"
        return None
    kind = response.headers.get("content-type", "")
    if not kind.startswith("application/problem+json"):
        return f"{response.status_code} is not a problem document: {response.text[:200]}"
    if response.status_code not in (503, 504):
        return f"{response.status_code}: {response.text[:200]}"
    return None


def start_night_scan(services: NightServices, catalog: str = CATALOG_URI) -> subprocess.Popen[str]:
    address = services.cluster.address
    return start_scan(address, TILES_URI, catalog, "--again", clock=services.clock)


def upload(night: Night, tiles: int) -> None:
    """Add tiles to the core in the store, until it has this many."""
    root = draw_core(night.services.folder / f"core-{tiles}", tiles)
    for path in root.rglob("*.png"):
        if int(path.stem) >= night.tiles:
            key = f"core/{path.relative_to(root)}"
            night.services.bucket.put_object(Bucket="tiles", Key=key, Body=path.read_bytes())
    night.tiles = tiles


def compare(night: Night) -> None:
    """Scan once more in quiet, and compare with a scan that had no faults."""
    calm = "s3://catalog/calm"
    for uri in (CATALOG_URI, calm):
        try:
            summary = finish(start_night_scan(night.services, uri), must=True)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            night.complain(str(error))
            return
        night.scans[f"in quiet: tiles of {uri}"] = summary["tiles_ok"] if summary else 0
    found, expected = (content(download(night.services, uri)) for uri in (CATALOG_URI, calm))
    if not expected["crystals"]:
        night.complain("the quiet scan found nothing")
    for name in ("crystals", "tiles", "crystals_seen", "problems", "entries"):
        if found[name] != expected[name]:
            night.complain(f"{name} differ: {difference(found, expected)}")


def download(services: NightServices, uri: str) -> Path:
    """Copy a catalogue from the store to this machine."""
    name = uri.rpartition("/")[2]
    root = services.folder / "copy" / name
    pages = services.bucket.get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket="catalog", Prefix=f"{name}/"):
        for entry in page.get("Contents", ()):
            path = root / entry["Key"].removeprefix(f"{name}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            stored = services.bucket.get_object(Bucket="catalog", Key=entry["Key"])
            path.write_bytes(stored["Body"].read())
    return root


def draw_picture(folder: Path) -> bytes:
    """The clients' picture, as PNG."""
    from PIL import Image

    from mcn.synthetic.core import CoreSettings, render_core

    render_core(folder / "picture", 1, 1, settings=CoreSettings(height=192, width=256))
    tile = min((folder / "picture").rglob("*.tif"))
    Image.open(tile).convert("L").save(folder / "picture.png")
    return (folder / "picture.png").read_bytes()


def crystals_of(url: str, picture: bytes) -> int | None:
    """Number of crystals that the endpoint finds in a picture, as soon as it is ready."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/png"}
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        response = httpx.post(
            url + ANALYZE, content=picture, headers=headers, timeout=LONGEST_REQUEST_S
        )
        if response.status_code == 200:
            return len(response.json()["crystals"])
        time.sleep(1)
    return None
