"""Commands about versions of a catalogue and of models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcn.catalog.schema import tile_table
from mcn.catalog.store import Catalog
from mcn.cli.main import app
from mcn.errors import McnError

from ....fakes import catalog_rows, crystal_row
from .test_info import make_tile_row


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Version 1 by one segmenter, version 2 by another."""
    made = Catalog.create(tmp_path / "c")
    for segmenter, count in (("compact@0123456789ab", 2), ("vit_h@111111111111", 1)):
        tile = make_tile_row(segmenter=segmenter, n_crystals=count)
        rows = catalog_rows([(tile, [crystal_row()] * count)], made.depth_bin_m)
        made.commit(rows, tile_table([tile]))
    return made


def run(*words: str) -> str:
    result = CliRunner().invoke(app, [*words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_history_and_the_past(catalog: Catalog) -> None:
    (_, one, two) = json.loads(run("catalog", "history", catalog.uri, "--json"))["versions"]
    assert (one["crystals"], two["crystals"], two["action"]) == (2, 1, "scan")
    assert "scan" in run("catalog", "history", catalog.uri)
    query = ("query", catalog.uri, "--format", "json")
    assert len(json.loads(run(*query))) == 1
    assert len(json.loads(run(*query, "--as-of", "1"))) == 2
    assert len(json.loads(run(*query, "--as-of", one["time"]))) == 2
    assert (
        json.loads(run("catalog", "info", catalog.uri, "--json", "--as-of", "1"))["crystals"] == 2
    )
    with pytest.raises(McnError, match="give a version from 0 to 2"):
        run(*query, "--as-of", "2020-01-01")


def test_columns_and_confidence(catalog: Catalog) -> None:
    query = ("query", catalog.uri, "--format", "json")
    (few,) = json.loads(run(*query))
    assert "mask_rle" not in few
    assert {"well", "depth_m", "shape", "segmenter"} < set(few)
    (every,) = json.loads(run(*query, "--columns", "all"))
    assert list(every) == catalog.crystals_schema.names
    assert json.loads(run(*query, "--columns", "shape, well")) == [
        {"shape": "rhombic", "well": "A"}
    ]
    assert json.loads(run(*query, "--min-confidence", "0.9")) == []
    with pytest.raises(McnError, match="no column 'shap'; did you mean 'shape'"):
        run(*query, "--columns", "shap")
    with pytest.raises(McnError, match="a confidence of 2 is impossible"):
        run(*query, "--min-confidence", "2")


def test_sql_without_end_is_stopped(catalog: Catalog) -> None:
    endless = "SELECT count(*) FROM range(10_000_000_000_000)"
    with pytest.raises(McnError, match=r"longer than 0\.2 s"):
        run("query", catalog.uri, "--sql", endless, "--sql-seconds", "0.2")


def test_two_models_are_compared(catalog: Catalog) -> None:
    words = ("--segmenter", "compact", "--segmenter", "vit_h", "--format", "json")
    (row,) = json.loads(run("compare", catalog.uri, *words))
    assert (row["n_tiles"], row["n_crystals_a"], row["n_crystals_b"]) == (1, 2, 1)
    with pytest.raises(McnError, match="a comparison needs two models"):
        run("compare", catalog.uri, "--segmenter", "compact")
