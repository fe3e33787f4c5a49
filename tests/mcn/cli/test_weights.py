"""Weights are listed, and fetched if possible."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcn.cli.main import app


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_the_list_shows_cached_weights_without_fetching(empty_cache: Path) -> None:
    run = CliRunner().invoke(app, ["weights", "list"])
    assert run.exit_code == 0
    rows = dict(line.split(maxsplit=1) for line in run.stdout.splitlines())
    assert list(rows) == ["compact", "vit_b", "vit_l", "vit_h", "nsr", "published"]
    for name, row in rows.items():
        kind, state = row.split(maxsplit=1)
        assert kind == ("classifier" if name in ("nsr", "published") else "segmenter")
        assert state == ("embedded" if name in ("compact", "nsr") else "not fetched")
    assert not list(empty_cache.rglob("*.*"))


@pytest.mark.parametrize("name", ["compact", "nsr", "vit_x"])
def test_weights_that_cannot_be_fetched_are_bad_usage(name: str) -> None:
    run = CliRunner().invoke(app, ["weights", "fetch", name], env={"COLUMNS": "200"})
    assert run.exit_code == 2
    assert f"unknown weights '{name}'; use one of vit_b, vit_l, vit_h, published" in run.stderr
