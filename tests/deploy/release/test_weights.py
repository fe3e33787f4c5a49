"""Weights are versioned by their contents, and every page names the shipped ones."""

import hashlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WEIGHTS = sorted((ROOT / "mcn/weights").glob("*.safetensors"))


def version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    current: str = project["version"]
    return current


def release_notes() -> str:
    """The changelog's section of this version, or of what changed since."""
    sections = (ROOT / "CHANGELOG.md").read_text("utf-8").split("\n## ")
    return next(part for part in sections if part.startswith(("Unreleased", f"{version()} – ")))


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda path: path.stem)
def test_card_and_changelog_name_the_shipped_weights(weights: Path) -> None:
    name = f"{weights.stem}@{hashlib.sha256(weights.read_bytes()).hexdigest()[:12]}"
    assert f"`{name}`" in weights.with_suffix(".md").read_text("utf-8")
    assert f"`{name}`" in release_notes()


def test_rows_name_the_shipped_weights() -> None:
    from mcn.classify import load_classifier
    from mcn.segment import segmenter_name

    assert f"`{segmenter_name('compact')}`" in release_notes()
    assert f"`{load_classifier('nsr').name}`" in release_notes()
