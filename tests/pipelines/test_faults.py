"""Faults in a long scan: tiles that kill or hang, failing stores, and interrupts by users."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcn.catalog.query import sql
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import verify
from pipelines.models import ScanModels
from pipelines.scan import ScanSettings, run_scan

from ..fakes import Images, PatchSegmenter
from ..programs import program_environment
from ..waiting import DEADLINE_S, wait_until
from .conftest import draw

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.usefixtures("ray_session")]

FREQUENT_COMMITS = ScanSettings(commit_tiles=2)
KILLER, SLEEPER, SPINNER = 15, 17, 19


def endanger(images: Images) -> None:
    """End the process or hang, on pictures marked by their first pixel."""
    if any(image[0, 0] == KILLER for image in images):
        os.kill(os.getpid(), signal.SIGKILL)
    if any(image[0, 0] == SLEEPER for image in images):
        threading.Event().wait()  # hangs
    while any(image[0, 0] == SPINNER for image in images):
        pass


def endanger_and_work(images: Images) -> None:
    """Also use a core for a third of a second per picture."""
    endanger(images)
    end = time.thread_time() + 0.35 * len(images)
    while time.thread_time() < end:
        pass


def mark(core: Path, number: int, value: int) -> None:
    (path,) = core.glob(f"*/*/{number}.png")
    pixels = np.array(Image.open(path))
    pixels[0, 0] = value
    Image.fromarray(pixels).save(path)


def statuses(catalog: str) -> dict[str, tuple[str, str | None]]:
    rows = sql(Catalog.open(catalog), "SELECT uri, status, error FROM tiles").to_pylist()
    return {Path(row["uri"]).stem: (row["status"], row["error"]) for row in rows}


def test_tiles_that_kill_or_hang_are_quarantined(
    core: Path, tmp_path: Path, models: ScanModels
) -> None:
    mark(core, 2, KILLER)
    mark(core, 5, SLEEPER)
    catalog = str(tmp_path / "catalog")
    settings = replace(FREQUENT_COMMITS, stages=("segment.seconds=1.5", "segment.most=1"))
    summary = run_scan(
        str(core),
        catalog,
        settings,
        replace(models, load_segmenter=partial(PatchSegmenter, endanger)),
    )
    assert (summary.tiles_ok, summary.tiles_failed) == (6, 2)
    rows_by_name = statuses(catalog)
    assert rows_by_name["2"] == (
        "failed",
        "segment: ended its worker 3 times; --retry-failed tries once more",
    )
    assert rows_by_name["5"] == (
        "failed",
        "segment: took over 6 s alone, its second chance; --retry-failed tries once more",
    )
    again = run_scan(str(core), catalog, replace(FREQUENT_COMMITS, retry_failed=True), models)
    assert (again.tiles_ok, again.tiles_failed, again.tiles_skipped) == (2, 0, 6)
    opened = Catalog.open(catalog)
    assert sql(opened, "SELECT count(*) AS n FROM tiles").to_pylist() == [{"n": 8}]
    assert (
        sum(opened.delta_table("tiles").get_add_actions(flatten=True)["num_records"].to_pylist())
        == 8
    )


@pytest.fixture
def crowded() -> Iterator[None]:
    """Run four busy programs on every core of this machine."""
    busy_programs = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(4 * (os.cpu_count() or 1))
    ]
    try:
        yield
    finally:
        for program in busy_programs:
            program.kill()
        for program in busy_programs:
            program.wait(DEADLINE_S)


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("crowded")
def test_on_a_crowded_machine_only_what_hangs_fails(
    core: Path, tmp_path: Path, models: ScanModels
) -> None:
    """A fifth of each core is left, so every tile takes longer than its limit."""
    mark(core, 2, SPINNER)
    mark(core, 5, SLEEPER)
    catalog = str(tmp_path / "catalog")
    settings = replace(FREQUENT_COMMITS, stages=("segment.seconds=1",))
    summary = run_scan(
        str(core),
        catalog,
        settings,
        replace(models, load_segmenter=partial(PatchSegmenter, endanger_and_work)),
    )
    rows_by_name = statuses(catalog)
    assert (summary.tiles_ok, summary.tiles_failed) == (6, 2), rows_by_name
    hung = "segment: took over 4 s alone, its second chance; --retry-failed tries once more"
    assert rows_by_name["2"] == rows_by_name["5"] == ("failed", hung)


def fuzzed(data: bytes, chance: random.Random) -> bytes:
    """The data with some bits flipped, truncated, or with a part repeated."""
    kind = chance.randrange(3)
    if kind == 0:
        broken = bytearray(data)
        for _ in range(chance.randint(1, 40)):
            broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        return bytes(broken)
    if kind == 1:
        return data[: chance.randrange(len(data))]
    start = chance.randrange(len(data))
    return data[:start] + data[start : start + 200] * chance.randint(2, 50) + data[start:]


def bomb() -> bytes:
    """A small file of a large, uniform picture."""
    file = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(file, "PNG", optimize=False, compress_level=9)
    return file.getvalue()


def test_a_thousand_broken_files_give_a_thousand_rows(tmp_path: Path, models: ScanModels) -> None:
    chance = random.Random(20261124)
    forms = {"png": {}, "tiff": {}, "jpeg": {}, "bmp": {}, "gif": {}, "webp": {}}
    valid_files = {}
    for form in forms:
        file = io.BytesIO()
        Image.fromarray(draw(1)).save(file, form.upper())
        valid_files[form] = file.getvalue()
    packed = io.BytesIO()
    Image.fromarray(draw(2)).save(packed, "TIFF", compression="tiff_lzw")
    valid_files["tif"] = packed.getvalue()
    endings = [*valid_files, "txt", "zip", "parquet"]
    folder = tmp_path / "core" / "well=A" / "depth=1"
    folder.mkdir(parents=True)
    for number in range(998):
        data = fuzzed(valid_files[chance.choice([*valid_files])], chance)
        # Some have the file name extension of another format.
        (folder / f"{number}.{chance.choice(endings)}").write_bytes(data)
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "whole.png").write_bytes(valid_files["png"])

    catalog = str(tmp_path / "catalog")
    summary = run_scan(str(tmp_path / "core"), catalog, ScanSettings(), models)
    assert summary.tiles_ok + summary.tiles_failed == 1000
    rows_by_name = statuses(catalog)
    assert len(rows_by_name) == 1000
    assert rows_by_name["whole"] == ("ok", None)
    counted = Counter(status for status, _ in rows_by_name.values())
    assert counted["failed"] > 300, "many files cannot be read"
    reasons = [error for status, error in rows_by_name.values() if status == "failed"]
    assert all(reason and "\n" not in reason for reason in reasons)
    assert verify(Catalog.open(catalog)).ok


STOPPED = """
import json, sys, time
from dataclasses import asdict
from functools import partial
from pipelines.models import ScanModels
from pipelines.scan import ScanSettings, run_scan
from tests.fakes import BrightnessClassifier, PatchSegmenter

def take_time(images):
    time.sleep(0.2 * len(images))

models = ScanModels(
    PatchSegmenter.name,
    BrightnessClassifier.name,
    partial(PatchSegmenter, take_time),
    BrightnessClassifier,
)
settings = ScanSettings(commit_tiles=1, stages=("write.batch=4",))
print(json.dumps(asdict(run_scan(sys.argv[1], sys.argv[2], settings, models))))
"""


def scan_of_many(draw_core: Callable[..., Path], tmp_path: Path) -> subprocess.Popen[str]:
    core = draw_core(tmp_path / "many", tiles=200)
    return subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(core), str(tmp_path / "catalog")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=program_environment(),
        start_new_session=True,
    )


def wait_for_a_commit(scan: subprocess.Popen[str], catalog: Path) -> None:
    """Wait until the log of tiles has its second commit."""
    second = catalog / "tiles" / "_delta_log" / f"{1:020d}.json"
    wait_until(second.exists, "the second commit", scan)


def test_an_interrupt_drains_and_commits(draw_core: Callable[..., Path], tmp_path: Path) -> None:
    scan = scan_of_many(draw_core, tmp_path)
    wait_for_a_commit(scan, tmp_path / "catalog")
    os.killpg(scan.pid, signal.SIGINT)  # As a terminal does, to every process of the group.
    output, errors = scan.communicate(timeout=DEADLINE_S)
    assert scan.returncode == 0, errors
    assert "finishing the tiles in progress, then stopping; interrupt again to end it now" in errors
    summary = json.loads(output)
    assert 0 < summary["tiles_ok"] < 200
    assert summary["tiles_left"] == 200 - summary["tiles_ok"]
    catalog = Catalog.open(tmp_path / "catalog")
    assert len(statuses(catalog.uri)) == summary["tiles_ok"]
    assert verify(catalog).orphan_files == []
    assert not list(Path(catalog.uri, "_scans").iterdir())


def test_a_second_interrupt_ends_the_scan_and_the_next_scan_cleans_up(
    draw_core: Callable[..., Path], tmp_path: Path, models: ScanModels
) -> None:
    scan = scan_of_many(draw_core, tmp_path)
    wait_for_a_commit(scan, tmp_path / "catalog")
    assert scan.stderr is not None
    os.killpg(scan.pid, signal.SIGINT)
    assert "finishing the tiles in progress" in scan.stderr.readline()
    os.killpg(scan.pid, signal.SIGINT)
    scan.communicate(timeout=DEADLINE_S)
    assert scan.returncode == 128 + signal.SIGINT
    catalog = str(tmp_path / "catalog")
    before = len(statuses(catalog))
    assert before > 0
    summary = run_scan(str(tmp_path / "many"), catalog, ScanSettings(), models)
    assert (summary.tiles_ok, summary.tiles_skipped) == (200 - before, before)
    report = verify(Catalog.open(catalog))
    assert (report.ok, report.orphan_files, report.orphan_crystals) == (True, [], 0)
    assert not list(Path(catalog, "_scans").iterdir())
