"""The two tables of a catalogue exist together, and nothing else is taken for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable

from mcn.catalog.delta_tables import is_catalog, make_tables, open_delta_table
from mcn.catalog.storage import CatalogError
from mcn.taxonomy import SHAPES


def test_making_tables_is_repeatable_and_changes_nothing(tmp_path: Path) -> None:
    uri = str(tmp_path / "c")
    assert not is_catalog(uri)
    for _ in range(2):
        make_tables(uri, 50.0, SHAPES)
        assert is_catalog(uri)
    for name in ("crystals", "tiles"):
        table = open_delta_table(uri, name)
        assert table.version() == 0
        assert table.metadata().configuration["mcn.depth_bin_m"] == "50.0"
    assert isinstance(table, DeltaTable)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="there is no crystal catalogue"):
        open_delta_table(str(tmp_path), "tiles")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(CatalogError, match=r"other files \(notes\.txt\)"):
        make_tables(str(tmp_path), 50.0, SHAPES)
