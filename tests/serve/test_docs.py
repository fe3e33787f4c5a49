"""The examples in README and docs that need a running endpoint."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mcn.catalog.query import query
from mcn.catalog.store import Catalog

from ..docs import Example, blocks, commands
from .conftest import Endpoint

REMOTE = [each for each in commands() if "mcn remote " in each.text]


@pytest.mark.parametrize("command", REMOTE, ids=str)
def test_remote_commands(command: Example, endpoint: Endpoint, tile: Path, tmp_path: Path) -> None:
    (tmp_path / "picture.tif").write_bytes(tile.read_bytes())
    text = re.sub(r"http://\S+:8000", endpoint.url, command.text.replace(".venv/bin/", ""))
    text = text.replace("mcn_…", endpoint.tokens["lab"])
    environ = {
        **os.environ,
        "MCN_TOKEN": endpoint.tokens["lab"],
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        timeout=300,
        args=["sh", "-euc", text],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"crystals"' in done.stdout


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
