"""A command renders a synthetic core."""

from __future__ import annotations

from pathlib import Path

from .commands import mcn, refused


def test_training_tiles_are_rendered_once(tmp_path: Path) -> None:
    assert mcn("core", tmp_path / "heaps", "--varied", "--tiles", 1).returncode == 0
    names = sorted(str(p.relative_to(tmp_path / "heaps")) for p in tmp_path.rglob("*.png"))
    assert names == ["images/rendered_000000.png", "masks/rendered_000000.png"]
    refused(mcn("core", tmp_path / "heaps", "--varied", "--tiles", 1), "heaps")
