"""The examples in README and docs that need a running endpoint."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mcn.catalog.correcting.changes import Change, correct
from mcn.catalog.query import query
from mcn.catalog.store import Catalog

from ..docs import Example, blocks, commands
from ..waiting import wait_until
from .conftest import Endpoint
from .local import local_client, local_services

REMOTE = [each for each in commands() if "mcn remote " in each.text]
CURL = [
    each for each in commands() if each.text.startswith("curl ") and "crystals:8000" in each.text
]


@pytest.fixture(scope="module")
def folder(endpoint: Endpoint, tile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples name."""
    del endpoint
    folder = tmp_path_factory.mktemp("examples")
    for name in ("picture.tif", "other.tif"):
        (folder / name).write_bytes(tile.read_bytes())
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "crop.png")
    return folder


def run(command: Example, endpoint: Endpoint, scanned: Path, folder: Path) -> str:
    """Run an example against the endpoint and its catalogue."""
    catalog = Catalog.open(scanned / "catalog")
    row = query(catalog).slice(0, 1).to_pylist()[0]
    change = Change("shape", row["tile_id"], row["well"], [row["crystal_id"]], "rhombic")
    made = "CHANGE_ID" in command.text and correct(catalog, change, "lab").change_id
    text = re.sub(r"http://[\w.]+:8000", endpoint.url, command.text.replace(".venv/bin/", ""))
    text = text.replace("mcn_…", endpoint.tokens["lab"]).replace("A-12", row["well"])
    text = text.replace("1200:", "0:")
    environ = {
        **os.environ,
        "MCN_TOKEN": endpoint.tokens["lab"],
        "METRICS_TOKEN": endpoint.tokens["operator"],
        "TILE_ID": row["tile_id"],
        "CRYSTAL_ID": row["crystal_id"],
        "CHANGE_ID": made or "",
        "JOB_ID": finished_job(endpoint, folder) if "JOB_ID" in command.text else "",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        timeout=300,
        args=["sh", "-euc", text],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def finished_job(endpoint: Endpoint, folder: Path) -> str:
    """The id of a job that has a result."""
    with endpoint.client() as lab, (folder / "picture.tif").open("rb") as file:
        job = lab.post("/v1/jobs", files={"image": file}).json()
        wait_until(lambda: lab.get(job["url"]).json()["status"] == "done", "the job is done")
    return str(job["id"])


@pytest.mark.parametrize("command", REMOTE, ids=str)
def test_remote_commands(command: Example, endpoint: Endpoint, scanned: Path, folder: Path) -> None:
    output = run(command, endpoint, scanned, folder)
    if "analyze" in command.text:
        assert '"crystals"' in output
    elif "--out" not in command.text:
        assert len(output.splitlines()) >= 1


@pytest.mark.parametrize("command", CURL, ids=str)
def test_curl_commands(command: Example, endpoint: Endpoint, scanned: Path, folder: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    output = run(command, endpoint, scanned, folder)
    file = re.search(r" -o (\S+)", command.text)
    written = (folder / file[1].replace("A-12", "")) if file else None
    assert output or any(folder.glob("*.las")) or (written and written.stat().st_size)


def test_every_route_has_an_example() -> None:
    paths = local_client(local_services("test-docs")).get("/openapi.json").json()["paths"]
    texts = [
        command.text.replace("A-12", "{well}")
        .replace("$TILE_ID", "{tile_id}")
        .replace("$CRYSTAL_ID", "{crystal_id}")
        .replace("$CHANGE_ID", "{change_id}")
        .replace("$JOB_ID", "{job_id}")
        .replace("full/!256,256/0/default.jpg", "{region}/{size}/{rotation}/{quality}.{form}")
        for command in CURL
    ]
    for path in paths:
        pattern = re.compile(re.escape(f":8000{path}") + r"([?\" ]|$)")
        assert any(pattern.search(text) for text in texts), f"docs/serving.md: no curl for {path}"


def test_python_examples(
    endpoint: Endpoint, tile: Path, scanned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = (each for each in blocks("python") if each.page == "docs/serving.md")
    rows = query(Catalog.open(scanned / "catalog"))
    (tmp_path / "picture.tif").write_bytes(tile.read_bytes())
    monkeypatch.chdir(tmp_path)
    text = block.text.replace("http://crystals:8000", endpoint.url)
    text = text.replace("A-12", rows["well"][0].as_py())
    names: dict[str, Any] = {"token": endpoint.tokens["lab"]}
    exec(compile(text, str(block), "exec"), names)
    assert len(names["analysis"].crystals) > 10
    assert names["page"].column_names == rows.column_names
