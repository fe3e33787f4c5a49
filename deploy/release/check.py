"""Builds the wheel, installs it into an empty environment, and runs the demo there.

`python deploy/release/check.py FOLDER` leaves the wheel in `FOLDER/wheel` and the environment in
`FOLDER/venv`; it needs only Python. `make release-check` runs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = {"mcn", "pipelines", "serve"}
NOT_SOURCES: Final = (".*", "build", "demo", "runs", "*.egg-info", "node_modules", "dist")
SHIPPED: Final = (
    "mcn/py.typed",
    "mcn/weights/compact.md",
    "mcn/weights/compact.safetensors",
    "mcn/weights/nsr.md",
    "mcn/weights/nsr.safetensors",
    "serve/viewer/dist/index.html",
    "serve/viewer/dist/licences.txt",
    ".dist-info/licenses/LICENSE",
    ".dist-info/licenses/THIRD_PARTY_NOTICES.md",
)


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this repository from scratch."""
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as copy:
        # setuptools keeps earlier builds, and would ship files that have been deleted.
        source = shutil.copytree(
            ROOT,
            Path(copy, "source"),
            ignore=shutil.ignore_patterns(*NOT_SOURCES),
        )
        _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, source)
    (wheel,) = folder.glob("mcn-*.whl")
    return wheel


def missing_from(wheel: Path) -> list[str]:
    """Files that a wheel lacks, and folders that it should not have."""
    names = zipfile.ZipFile(wheel).namelist()
    missing = [file for file in SHIPPED if not any(name.endswith(file) for name in names)]
    folders = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    return missing + sorted(folders - PACKAGES)


def install(wheel: Path, folder: Path) -> Path:
    """Install the wheel into a new environment with the tested versions; returns its programs."""
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "venv", folder)
    programs = folder / "bin"
    constraints = ROOT / "constraints.txt"
    pins = constraints.read_text(encoding="utf-8").splitlines()
    pip = (programs / "python", "-m", "pip", "--disable-pip-version-check")
    torch = next(line for line in pins if line.startswith("torch=="))
    # First and by itself, as `make setup` does, so that nothing pulls in CUDA.
    _run(*pip, "install", "--quiet", "-c", constraints, torch)
    _run(*pip, "install", "--quiet", "-c", constraints, f"{wheel}[serve]")
    _run(*pip, "check")
    return programs


def demonstrate(programs: Path) -> list[str]:
    """Run the installed demo outside the repository; returns the pictures that it writes."""
    with tempfile.TemporaryDirectory() as away:
        out = Path(away, "demo")
        _run(programs / "mcn", "demo", "--out", out, at=Path(away))
        _run(programs / "mcn", "serve", "--help", at=Path(away), quiet=True)
        return sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))


def _run(*command: str | Path, at: Path = ROOT, quiet: bool = False) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))}
    subprocess.run(
        [str(part) for part in command],
        cwd=at,
        env=environment,
        timeout=1800,
        check=True,
        stdout=subprocess.DEVNULL if quiet else None,
    )


def main(folder: Path) -> int:
    """Run all steps; returns 0 on success."""
    wheel = build_wheel(folder / "wheel")
    print(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MiB", flush=True)
    if differences := missing_from(wheel):
        print(
            f"{wheel.name} lacks, or should not contain: {', '.join(differences)}", file=sys.stderr
        )
        return 1
    pictures = demonstrate(install(wheel, folder / "venv"))
    if not pictures:
        print("the demo of the installed wheel drew nothing", file=sys.stderr)
        return 1
    print(f"the installed wheel's demo drew {len(pictures)} pictures: {pictures[0]}, …")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
