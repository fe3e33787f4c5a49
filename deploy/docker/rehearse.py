"""Runs the install steps of the cpu image, as the Dockerfile has them, without a container engine.

The COPY and RUN steps of each stage run in a folder that replaces `/`, with only the files that the
Dockerfile and .dockerignore include. Then the installed commands are tried, and the size is checked
against the budget. `make test-install` calls it; it takes about two minutes.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = Path(__file__).with_name("Dockerfile")
STAGES = ("wheel", "packages-cpu", "cpu")
OURS = re.compile(r"(?<![\w.])/(src|opt/mcn|wheel)\b")
"""The folders that the Dockerfile makes, in the text of a step."""

BUDGET_MB = 2500 - 150
"""Budget of the cpu image, without its operating system and Python."""

Step = tuple[str, str]


def stages(dockerfile: str) -> dict[str, list[Step]]:
    """Instructions of each stage, as pairs of keyword and arguments."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", dockerfile))
    steps_by_stage: dict[str, list[Step]] = {}
    steps: list[Step] = []
    for line in filter(str.strip, joined.splitlines()):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            steps = steps_by_stage.setdefault(rest.split()[-1], [])
        steps.append((word, rest))
    return steps_by_stage


def admitted(path: str, ignore: str) -> bool:
    """Whether .dockerignore includes a file; the last pattern that matches decides."""
    included = True
    for line in ignore.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        bare = pattern.removeprefix("!")
        paths = [path, *map(str, Path(path).parents)]
        names = Path(path).parts if bare.startswith("**/") else paths
        if any(fnmatch.fnmatchcase(name, bare.removeprefix("**/")) for name in names):
            included = pattern.startswith("!")
    return included


def files_of(pattern: str, ignore: str) -> Iterator[tuple[Path, Path]]:
    """Files of one source of a COPY: the path of each, and its path relative to the source."""
    for source in sorted(REPOSITORY.glob(pattern)):
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if file.is_file() and admitted(str(file.relative_to(REPOSITORY)), ignore):
                yield file, file.relative_to(source if source.is_dir() else source.parent)


def copy(rest: str, folder: Path) -> None:
    """Run a COPY from the repository into a folder.

    Raises
    ------
    SystemExit
        If a source without a wildcard is missing, as in a real build.
    """
    *sources, target = rest.split()
    ignore = (REPOSITORY / ".dockerignore").read_text()
    for pattern in sources:
        sources = list(files_of(pattern, ignore))
        if not sources and "*" not in pattern:
            sys.exit(f"COPY {rest}: {pattern} is missing, or excluded by .dockerignore")
        for file, below in sources:
            destination = folder / target / below
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, destination)


def run(rest: str, folder: Path, root: Path) -> None:
    """Run a RUN step in a folder, with the image's folders below `root`."""
    script = re.sub(r"--mount=\S+\s+", "", rest)
    script = OURS.sub(lambda match: f"{root}/{match[1]}", script)
    print(f"+ {script}", flush=True)
    subprocess.run(["sh", "-euc", script], cwd=folder, timeout=1800, check=True)


def rehearse(root: Path) -> Path:
    """Run the stages below `root` and return the virtual environment that they made."""
    steps_by_stage = stages(DOCKERFILE.read_text())
    for stage in STAGES:
        # Stages share only the folders that are copied or mounted from one to the next.
        shutil.rmtree(root / "src", ignore_errors=True)
        folder = root
        for word, rest in steps_by_stage[stage]:
            if word == "WORKDIR":
                folder = root / rest.lstrip("/")
                folder.mkdir(parents=True, exist_ok=True)
            elif word == "COPY" and "--from=" not in rest:
                copy(rest, folder)
            elif word == "RUN":
                run(rest, folder, root)
    return root / "opt/mcn"


def size_mb(folder: Path) -> float:
    """Megabytes on disk."""
    return sum(file.lstat().st_size for file in folder.rglob("*")) / 1e6


def main() -> None:
    """Rehearse the build, try the installed commands, and check the size."""
    with tempfile.TemporaryDirectory(prefix="mcn-image-") as temporary:
        root = Path(temporary)
        binaries = rehearse(root) / "bin"
        clean = {"PATH": f"{binaries}:{os.environ['PATH']}", "HOME": temporary}
        for command in (
            ["mcn", "--help"],
            ["python", "-c", "import pipelines.scan, serve.app"],
            ["mcn", "weights", "list"],
            ["mcn", "demo", "--out", "demo"],
        ):
            print(f"+ {' '.join(command)}", flush=True)
            subprocess.run(
                [str(binaries / command[0]), *command[1:]],
                cwd=root,
                env=clean,
                timeout=1800,
                check=True,
            )
        size = size_mb(root / "opt/mcn")
        print(f"installed: {size:.0f} MB of {BUDGET_MB} MB")
        if size > BUDGET_MB:
            sys.exit("the cpu image is over its size budget")


if __name__ == "__main__":
    main()
