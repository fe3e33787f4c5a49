"""Writes the lock files of the images: every package with its version and the hashes of its wheels.

`requirements.lock` has what both images have, `torch-cpu.lock` and `torch-gpu.lock` have PyTorch
without and with CUDA. Versions are those of constraints.txt; wheels are those for Linux on x86-64
and the Pythons of images and cluster. Run it with uv on the path: `make lock CPU_WHEELS=…`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

ROOT: Final = Path(__file__).resolve().parents[2]
LOCKS: Final = ROOT / "deploy/docker"
PYTHONS: Final = ("3.11.14", "3.12.3")
"""Of the images, and of Amazon's machine image for cluster.yaml."""

GLIBC: Final = 36
"""Of Debian 12, the images' system."""

ONLY_WITH_GPUS: Final = ("nvidia-", "cuda-", "triton")
_LONGEST_S: Final = 600.0
_PLATFORMS: Final = [
    *(f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC, 4, -1)),
    *(f"manylinux{year}_x86_64" for year in (2014, 2010, 1)),
    "linux_x86_64",
]

Locked = dict[str, tuple[str, set[str]]]
"""Name → version, and SHA-256 of each wheel."""


def supported_tags() -> frozenset[Tag]:
    """Tags of wheels that one of the Pythons can install."""
    tags: set[Tag] = set()
    for python in PYTHONS:
        version = tuple(map(int, python.split(".")[:2]))
        tags |= set(cpython_tags(version, platforms=_PLATFORMS))
        tags |= set(compatible_tags(version, f"cp{version[0]}{version[1]}", _PLATFORMS))
    return frozenset(tags)


def locked_wheels(packages: Iterable[dict[str, Any]], tags: frozenset[Tag]) -> Locked:
    """Versions and hashes from the packages of a `pylock.toml`.

    Raises
    ------
    LookupError
        If a package has no wheel for these tags, or one without a SHA-256.
    """
    locked: Locked = {}
    for package in packages:
        hashes = set()
        for wheel in package.get("wheels", ()):
            name = wheel.get("name") or wheel.get("url", wheel.get("path", "")).rpartition("/")[2]
            if parse_wheel_filename(name.replace("%2B", "+"))[3] & tags:
                hashes.add(wheel["hashes"]["sha256"])
        if not hashes:
            raise LookupError(f"{package['name']} {package['version']}: no wheel for the images")
        locked[package["name"]] = (package["version"], hashes)
    return locked


def resolve(
    requirements: Iterable[str],
    *options: str,
    pythons: Iterable[str] = PYTHONS,
) -> Locked:
    """Resolve requirements for each Python with uv."""
    merged: dict[str, set[str]] = defaultdict(set)
    versions: dict[str, str] = {}
    tags = supported_tags()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "requirements.in"), Path(folder, "pylock.toml")
        source.write_text("\n".join(requirements), encoding="utf-8")
        for python in pythons:
            subprocess.run(
                [
                    *("uv", "pip", "compile", "--quiet", "--no-header", "--format=pylock.toml"),
                    *(f"--constraints={ROOT / 'constraints.txt'}", f"--output-file={target}"),
                    *(
                        f"--python-version={python}",
                        "--python-platform=x86_64-manylinux_2_36",
                    ),
                    *(*options, str(source)),
                ],
                timeout=_LONGEST_S,
                check=True,
            )
            packages = tomllib.loads(target.read_text(encoding="utf-8"))["packages"]
            target.unlink()
            for name, (version, hashes) in locked_wheels(packages, tags).items():
                if versions.setdefault(name, version) != version:
                    raise LookupError(f"{name}: {versions[name]} and {version}, by Python")
                merged[name] |= hashes
    return {name: (versions[name], merged[name]) for name in sorted(merged)}


def text_of(locked: Locked) -> str:
    """A lock file as pip reads it with --require-hashes."""
    lines = ["# Written by `make lock`; change constraints.txt and pyproject.toml instead."]
    for name, (version, hashes) in sorted(locked.items()):
        lines.append(
            " \\\n".join(
                [f"{name}=={version}", *(f"    --hash=sha256:{each}" for each in sorted(hashes))]
            )
        )
    return "\n".join(lines) + "\n"


def main(cpu_wheels: str) -> None:
    """Write all three files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    everything = resolve(needed)
    torch = everything.pop("torch")
    gpu = {name: everything.pop(name) for name in [*everything] if name.startswith(ONLY_WITH_GPUS)}
    # Of the Python of the images only: the cluster's machines have GPUs.
    place = "index" if cpu_wheels.startswith("http") else "find-links"
    cpu = resolve(
        [f"torch=={torch[0]}+cpu"], "--no-deps", f"--{place}={cpu_wheels}", pythons=PYTHONS[:1]
    )
    for name, locked in (
        ("requirements.lock", everything),
        ("torch-cpu.lock", cpu),
        ("torch-gpu.lock", {"torch": torch, **gpu}),
    ):
        (LOCKS / name).write_text(text_of(locked), encoding="utf-8")
        print(f"{name}: {len(locked)} packages")


if __name__ == "__main__":
    main(sys.argv[1])
