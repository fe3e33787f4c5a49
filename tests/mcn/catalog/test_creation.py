"""Creating tables, and what stops it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcn.catalog.creation import is_catalog, make_catalog, make_table
from mcn.catalog.storage import CatalogError
from mcn.catalog.store import Catalog
from mcn.taxonomy import SHAPES


def test_an_interrupted_creation_is_completed(tmp_path: Path) -> None:
    uri = str(tmp_path / "catalog")
    make_catalog(uri, 50.0, SHAPES)
    assert is_catalog(uri)
    make_catalog(uri, 50.0, SHAPES)
    catalog = Catalog.open(uri)
    assert catalog.depth_bin_m == 50.0
    assert {*catalog.existing()} == {"crystals", "tiles"}
    make_table(uri, "corrections", catalog.schema_of("corrections"), 50.0)
    assert "corrections" in catalog.existing()
    assert Catalog.open(uri) == catalog


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CatalogError, match=r"other files \(notes.txt\)"):
        make_catalog(str(tmp_path), 100.0, SHAPES)
    with pytest.raises(CatalogError, match="impossible"):
        make_catalog(str(tmp_path / "new"), float("nan"), SHAPES)
