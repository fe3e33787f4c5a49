"""A scan on one machine is not reachable from other machines, not even its metrics."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..ports import Port, free_port, listening, open_to_others
from ..programs import program_environment
from ..waiting import DEADLINE_S, wait_until

SCAN = """
import sys, time
from functools import partial
from pipelines.models import ScanModels
from pipelines.scan import ScanSettings, run_scan
from tests.fakes import BrightnessClassifier, PatchSegmenter

def take_time(images):
    time.sleep(0.1 * len(images))

models = ScanModels(
    PatchSegmenter.name, BrightnessClassifier.name, partial(PatchSegmenter, take_time),
    BrightnessClassifier,
)
tiles, catalog, port = sys.argv[1:]
run_scan(tiles, catalog, ScanSettings(metrics_port=int(port)), models)
"""


@pytest.mark.ray
@pytest.mark.long
def test_a_scan_listens_on_this_machine_only(
    draw_core: Callable[..., Path], tmp_path: Path
) -> None:
    core, metrics_port = draw_core(tmp_path / "core", tiles=40), free_port()
    scan = subprocess.Popen(
        [sys.executable, "-c", SCAN, str(core), str(tmp_path / "catalog"), str(metrics_port)],
        stderr=subprocess.PIPE,
        text=True,
        env=program_environment(),
    )
    seen: set[Port] = set()

    def has_ended() -> bool:
        seen.update(listening(scan.pid))
        return scan.poll() is not None

    wait_until(has_ended, "the scan has ended")
    _, errors = scan.communicate(timeout=DEADLINE_S)
    assert scan.returncode == 0, errors[-3000:]
    assert any(port.number == metrics_port for port in seen)
    for part in ("gcs_server", "raylet", "ray::MapWorker"):
        assert any(part in port.title for port in seen), part
    assert not open_to_others(seen)
