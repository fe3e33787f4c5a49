"""`mcn catalog wells`: import, list, and the questions that it makes possible."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcn.catalog.store import Catalog
from mcn.cli.main import app

from ..commands import mcn, refused


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    return Catalog.create(tmp_path / "catalog").uri


def test_import_and_list(catalog: str, tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("well,name,lat,lon\nA,Alpha,24.5,50\n")
    (tmp_path / "t.csv").write_text("well,formation,depth_ft\nA,Khuff,10000\nA,Unayzah,11000\n")
    run = mcn("catalog", "wells", "import", catalog, tmp_path / "w.csv", tmp_path / "t.csv")
    assert run.returncode == 0
    assert "1 wells and 2 tops imported" in run.stderr
    assert "1 of them have no tiles yet (A)" in run.stderr
    runner = CliRunner()
    listed = runner.invoke(app, ["catalog", "wells", "list", catalog, "--format", "json"])
    assert json.loads(listed.stdout)[0]["name"] == "Alpha"
    tops = runner.invoke(app, ["catalog", "wells", "list", catalog, "--tops", "--format", "csv"])
    assert tops.stdout.splitlines()[1:] == ['"A","Khuff",3048,3352.8', '"A","Unayzah",3352.8,']
    again = runner.invoke(
        app, ["catalog", "wells", "import", catalog, str(tmp_path / "w.csv"), "--json"]
    )
    assert json.loads(again.stdout) == {"wells": 1, "tops": 0, "total": 1, "without_tiles": ["A"]}
    then = ["catalog", "wells", "list", catalog, "--format", "json", "--as-of"]
    assert runner.invoke(app, [*then, "0"]).stdout == listed.stdout
    early = runner.invoke(app, [*then, "1999-01-01"])
    assert "give a version from 0 to 0" in str(early.exception)


def test_bad_input_is_one_line(catalog: str, tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("well,lat,lon\nA,24.5,50\nA,24.5,50\n")
    refused(mcn("catalog", "wells", "import", catalog, tmp_path / "w.csv"), "'A' is there twice")
    refused(mcn("query", catalog, "--formation", "Khuff"), "mcn catalog wells import")
    refused(mcn("query", catalog, "--bbox", "-10,5,10,-5"), "south 5 lies above its north -5")
