"""Runs the install steps of the cpu image, as the Dockerfile has them, without a container engine.

Each stage's COPY and RUN happen in a folder of their own that stands for `/`, with only the files
that the Dockerfile and .dockerignore let in; then the installed commands are tried, and the size is
held to the budget. `make test-install` calls it; it takes about two minutes.
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
"""The folders that the Dockerfile makes, wherever a step names one."""

BUDGET_MB = 2500 - 150
"""Of the cpu image, without the operating system and Python in it."""

Step = tuple[str, str]


def stages(dockerfile: str) -> dict[str, list[Step]]:
    """Instructions of each stage, as pairs of word and rest."""
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
    """Whether .dockerignore lets a file in; the last pattern that fits decides."""
    verdict = True
    for line in ignore.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        bare = pattern.removeprefix("!")
        own = [path, *map(str, Path(path).parents)]
        names = Path(path).parts if bare.startswith("**/") else own
        if any(fnmatch.fnmatchcase(name, bare.removeprefix("**/")) for name in names):
            verdict = pattern.startswith("!")
    return verdict


def files_of(pattern: str, ignore: str) -> Iterator[tuple[Path, Path]]:
    """Files that one source of a COPY means: each where it is, and its path below the source."""
    for source in sorted(REPOSITORY.glob(pattern)):
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if file.is_file() and admitted(str(file.relative_to(REPOSITORY)), ignore):
                yield file, file.relative_to(source if source.is_dir() else source.parent)


def copy(rest: str, folder: Path) -> None:
    """Do a COPY from the repository into a folder.

    Raises
    ------
    SystemExit
        Where a source without a wildcard is not there, as for the real builder.
    """
    *sources, target = rest.split()
    ignore = (REPOSITORY / ".dockerignore").read_text()
    for pattern in sources:
        sources = list(files_of(pattern, ignore))
        if not sources and "*" not in pattern:
            sys.exit(f"COPY {rest}: {pattern} is missing, or .dockerignore keeps it out")
        for file, below in sources:
            destination = folder / target / below
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, destination)


def run(rest: str, folder: Path, root: Path) -> None:
    """Do a RUN in a folder, with the image's own folders found below `root`."""
    script = re.sub(r"--mount=\S+\s+", "", rest)
    script = OURS.sub(lambda match: f"{root}/{match[1]}", script)
    print(f"+ {script}", flush=True)
    subprocess.run(["sh", "-euc", script], cwd=folder, timeout=1800, check=True)


def rehearse(root: Path) -> Path:
    """Do the stages below `root` and give the virtual environment they made."""
    every = stages(DOCKERFILE.read_text())
    for stage in STAGES:
        # The stages share no folder but those that are copied or mounted from one to the next.
        shutil.rmtree(root / "src", ignore_errors=True)
        folder = root
        for word, rest in every[stage]:
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
    """Rehearse, try what was installed, and weigh it."""
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
