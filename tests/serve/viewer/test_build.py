"""The page is built where npm can be reached; elsewhere that is said, and nothing fails."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

VIEWER = Path(__file__).resolve().parents[3] / "serve" / "viewer"
DIST = VIEWER / "dist"
MOST_COMPRESSED = 1_000_000

needs_the_page = pytest.mark.skipif(
    not (DIST / "index.html").exists(), reason="the page is not built; run: make page"
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources of the page, without what is built or installed."""
    ignored = shutil.ignore_patterns("node_modules", "dist", "build")
    return Path(shutil.copytree(VIEWER, tmp_path / "viewer", ignore=ignored))


def run(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(folder / "build.py")],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_without_the_registry_everything_but_the_page_works(copy: Path, tmp_path: Path) -> None:
    program(tmp_path, "node", "echo v22.1.0")
    program(tmp_path, "npm", "echo 'npm error network: cannot reach the registry' >&2; exit 1")
    done = run(copy, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 0
    assert re.search(r"not built.*cannot reach the registry.*everything else works", done.stderr)
    assert "make page" in done.stderr
    assert not (copy / "dist").exists()


def test_a_page_that_is_current_is_not_built_again(copy: Path, tmp_path: Path) -> None:
    program(tmp_path, "node", "echo v22.1.0")
    program(tmp_path, "npm", "exit 1")
    (copy / "dist").mkdir()
    (copy / "dist/index.html").write_text("page")
    done = run(copy, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, done.stderr) == (0, "")
    later = (copy / "dist/index.html").stat().st_mtime + 10
    os.utime(copy / "src/main.tsx", (later, later))
    assert "not built" in run(copy, PATH=f"{tmp_path}:{os.environ['PATH']}").stderr


def test_the_lock_file_has_every_package_with_its_hash_and_no_registry() -> None:
    lock = json.loads((VIEWER / "package-lock.json").read_text("utf-8"))
    packages = {path: entry for path, entry in lock["packages"].items() if path}
    assert all(entry.get("integrity", "").startswith("sha512-") for entry in packages.values())
    assert "http" not in "".join(str(entry.get("resolved", "")) for entry in packages.values())
    wanted = json.loads((VIEWER / "package.json").read_text("utf-8"))
    for name, version in (wanted["dependencies"] | wanted["devDependencies"]).items():
        assert packages[f"node_modules/{name}"]["version"] == version


@needs_the_page
def test_the_page_is_small_and_loads_nothing_from_elsewhere() -> None:
    files = [path for path in DIST.rglob("*") if path.suffix in (".html", ".js", ".css")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < MOST_COMPRESSED
    page = (DIST / "index.html").read_text("utf-8")
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert all(each == "data:," or (DIST / each).is_file() for each in addresses)
    assert "<style" not in page
    assert re.findall(r"<script(?![^>]* src=)", page) == []


@needs_the_page
def test_the_licences_of_bundled_packages_are_carried() -> None:
    text = (DIST / "licences.txt").read_text("utf-8")
    for name in ("openseadragon", "preact", "d3-scale", "d3-shape", "openapi-fetch"):
        assert re.search(rf"(?m)^{name} \d", text), name
    assert text.count("Permission") + text.count("Redistribution") >= 5
