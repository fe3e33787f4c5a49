"""`mcn figure` writes PNG, SVG or PDF, by the name of the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcn.catalog.schema import Tile, tile_id, tile_table
from mcn.catalog.store import Catalog
from mcn.cli.main import app

from ....fakes import catalog_rows, crystal_row


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    catalog = Catalog.create(tmp_path / "catalog")
    tile = Tile(
        tile_id=tile_id("/a.tif"), uri="/a.tif", well="A", depth_m=5.0, n_crystals=2, width=64,
        height=48, segmenter="s@000000000000", classifier="c@000000000000", scan_id="one",
    )  # fmt: skip
    rows = catalog_rows([(tile, [crystal_row("rhombic"), crystal_row("spherical")])])
    catalog.commit(rows, tile_table([tile]))
    return catalog.uri


@pytest.mark.parametrize(
    ("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_the_ending_chooses_the_format(
    catalog: str, tmp_path: Path, ending: str, magic: bytes
) -> None:
    out = tmp_path / f"a.{ending}"
    run = CliRunner().invoke(app, ["figure", "sizes", catalog, str(out), "--by", "shape"])
    assert run.exit_code == 0, run.output
    assert out.read_bytes().startswith(magic)
    run = CliRunner().invoke(app, ["figure", "ternary", catalog, str(out), "--well", "A"])
    assert run.exit_code == 0, run.output


def test_other_endings_are_refused(catalog: str, tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["figure", "sizes", catalog, str(tmp_path / "a.doc")])
    assert "a figure needs a name that ends in .png, .svg, .pdf" in str(run.exception)
