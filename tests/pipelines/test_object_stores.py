"""Complete scans in real object stores, and in one that fails from time to time."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from ..ceph import ceph_gateway, environment, missing_programs
from ..fault_proxy import fault_proxy
from ..programs import program_environment
from ..waiting import DEADLINE_S

pytestmark = [pytest.mark.ray, pytest.mark.long]

SCRIPT = """
import json, sys
from dataclasses import asdict
from pathlib import Path

import boto3
import fsspec

from mcn.catalog.upkeep.maintenance import compact, vacuum, verify
from mcn.catalog.query import query, sql
from mcn.catalog.store import Catalog
from pipelines.models import ScanModels
from pipelines.scan import ScanSettings, run_scan
from tests.fakes import BrightnessClassifier, PatchSegmenter

core, out, bucket = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
boto3.client("s3").create_bucket(Bucket=bucket)
fs = fsspec.filesystem("s3")
for path in core.glob("*/*/*.png"):
    fs.pipe_file(f"{bucket}/core/{path.relative_to(core)}", path.read_bytes())
fs.pipe_file(f"{bucket}/core/well=A/depth=1/empty.tif", b"")

models = ScanModels(
    PatchSegmenter.name, BrightnessClassifier.name, PatchSegmenter, BrightnessClassifier
)
often = ScanSettings(commit_tiles=8, stages=("write.batch=4",))
first = run_scan(f"s3://{bucket}/core", f"s3://{bucket}/catalog", often, models)
again = run_scan(f"s3://{bucket}/core", f"s3://{bucket}/catalog", often, models)
catalog = Catalog.open(f"s3://{bucket}/catalog")
report = verify(catalog)
compact(catalog)
gone = vacuum(catalog, 0)
rows = query(catalog).to_pylist()
out.write_text(json.dumps({
    "first": asdict(first),
    "again": asdict(again),
    "verify": report.as_dict(),
    "after": verify(catalog).as_dict(),
    "gone": len(gone),
    "crystals": len(rows),
    "ids": len({row["crystal_id"] for row in rows}),
    "tiles": sql(catalog, "SELECT count(*) AS n FROM tiles").to_pylist()[0]["n"],
    "left": fs.find(f"{bucket}/catalog/_scans"),
}))
"""


@pytest.fixture
def s3_server() -> Iterator[str]:
    """An S3 server on this machine."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def scan(core: Path, out: Path, address: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(core), str(out), f"survey-{uuid.uuid4()}"],
        env=program_environment(environment(address)),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(out.read_text())
    return report


def check(report: dict[str, Any], tiles: int) -> None:
    assert (report["first"]["tiles_ok"], report["first"]["tiles_failed"]) == (tiles, 1)
    assert (report["again"]["tiles_ok"], report["again"]["tiles_skipped"]) == (0, tiles + 1)
    assert report["tiles"] == tiles + 1
    assert report["crystals"] == report["ids"] == report["first"]["crystals"] > 5 * tiles
    assert report["verify"]["problems"] == report["after"]["problems"] == []
    assert report["verify"]["orphan_files"] == []
    assert report["gone"] > 2
    assert report["left"] == []


def test_ceph(draw_core, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    if missing := missing_programs():
        pytest.skip(f"not installed: {', '.join(missing)}; apt-get install radosgw and others")
    core = draw_core(tmp_path / "core", tiles=24)
    with ceph_gateway(tmp_path / "ceph") as address:
        check(scan(core, tmp_path / "report.json", address), 24)


def test_a_store_that_fails_intermittently(
    draw_core,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    s3_server: str,
) -> None:
    core = draw_core(tmp_path / "core", tiles=60)
    with fault_proxy(s3_server, share=0.05, seed=1) as (address, faults):
        check(scan(core, tmp_path / "report.json", address), 60)
    assert faults.requests > 200
    assert len(faults.done) == 4, faults.done
    assert sum(faults.done.values()) > 0.02 * faults.requests
