"""Commands that query and maintain a catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_type_hints

import pytest
from PIL import Image
from typer.testing import CliRunner

from mcn.catalog.export import EXPORT_FORMATS
from mcn.catalog.store import Catalog
from mcn.cli.catalog import export
from mcn.cli.main import app

from .commands import mcn


def test_a_query_by_well_depth_and_shape(scanned: Path) -> None:
    all_rows = json.loads(mcn("query", scanned / "catalog", "--format", "json").stdout)
    summary = json.loads((scanned / "scan.json").read_text())
    assert len(all_rows) == summary["crystals"]
    well = all_rows[0]["well"]
    middle = sorted(row["depth_m"] for row in all_rows)[len(all_rows) // 2]
    words = ("--well", well, "--depth", f"{middle}:", "--shape", "rhombic", "--format", "json")
    some = json.loads(mcn("query", scanned / "catalog", *words).stdout)
    assert {row["crystal_id"] for row in some} == {
        row["crystal_id"]
        for row in all_rows
        if row["depth_m"] >= middle and row["shape"] == "rhombic"
    }
    counted = mcn(
        "query",
        scanned / "catalog",
        "--sql",
        "SELECT count(*) AS n FROM crystals",
        "--format",
        "csv",
    )
    assert counted.stdout.split() == ['"n"', str(len(all_rows))]


def test_a_log_and_an_export(scanned: Path, tmp_path: Path) -> None:
    well = json.loads(mcn("query", scanned / "catalog", "--limit", 1, "--format", "json").stdout)[
        0
    ]["well"]
    files = {kind: tmp_path / f"log.{kind}" for kind in ("png", "las", "csv")}
    words = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    assert mcn("log", scanned / "catalog", "--well", well, *words).returncode == 0
    with Image.open(files["png"]) as picture:
        assert min(picture.size) > 200
    assert "~Curve" in files["las"].read_text().title()
    assert mcn("export", scanned / "catalog", tmp_path / "coco.json").returncode == 0
    assert len(json.loads((tmp_path / "coco.json").read_text())["images"]) == 3


def test_help_lists_every_export_format() -> None:
    option = get_type_hints(export, include_extras=True)["form"].__metadata__[0]
    assert option.metavar.split("|") == [*EXPORT_FORMATS, "labels"]


def test_maintenance_commands(scanned: Path) -> None:
    assert json.loads(mcn("catalog", "verify", scanned / "catalog").stdout)["ok"]
    assert mcn("catalog", "info", scanned / "catalog").returncode == 0


@pytest.mark.parametrize("words", [("--well", "A"), ("--depth", "1:2"), ("--shape", "rhombic")])
def test_sql_excludes_other_filters(tmp_path: Path, words: tuple[str, str]) -> None:
    command = ["query", Catalog.create(tmp_path / "c").uri, "--sql", "SELECT 1 AS one"]
    run = CliRunner().invoke(app, [*command, *words], env={"COLUMNS": "200"})
    assert run.exit_code == 2
    assert "--sql excludes" in run.stderr
    assert json.loads(CliRunner().invoke(app, [*command, "--format", "json"]).stdout) == [
        {"one": 1}
    ]
