"""Footers are read and checked once, and the oldest are forgotten."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from mcn.catalog.active_files import files
from mcn.catalog.reading import fragments as module
from mcn.catalog.reading.fragments import Fragments
from mcn.catalog.store import Catalog


def test_footers_are_read_once(core: Catalog, tmp_path: Path) -> None:
    catalog = Catalog(shutil.copytree(core.uri, tmp_path / "c"))
    fragments = Fragments(pafs.LocalFileSystem(), catalog.uri)
    listed = files(catalog.snapshot().crystals, ["A"])
    first = fragments.of("crystals", listed)
    assert [file.partition["depth_bin"] for file in first] == [1200.0, 1300.0, 1400.0, 1500.0]
    assert [file.low[0] for file in first] == listed["min.depth_m"].to_pylist()
    assert [file.high[-1] for file in first] == listed["max.depth_m"].to_pylist()
    assert sum(file.rows.sum() for file in first) == 200
    shutil.rmtree(catalog.uri)
    assert fragments.of("crystals", listed.slice(1)) == first[1:]


def test_the_oldest_footers_are_forgotten(core: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    fragments = Fragments(pafs.LocalFileSystem(), core.uri)
    listed = files(core.snapshot().crystals, ["A"])
    one = fragments.of("crystals", listed.slice(0, 1))[0]
    monkeypatch.setattr(module, "_MOST_BYTES", 2 * one.fragment.metadata.serialized_size + 100)
    fragments.of("crystals", listed.slice(1, 2))
    kept = fragments.of("crystals", listed.slice(2, 1))
    assert fragments.of("crystals", listed.slice(2, 1)) == kept
    assert fragments.of("crystals", listed.slice(0, 1)) != [one]


def test_a_damaged_footer_is_refused(core: Catalog, tmp_path: Path) -> None:
    catalog = Catalog(shutil.copytree(core.uri, tmp_path / "c"))
    listed = files(catalog.snapshot().crystals, ["B 2/Ü"])
    (file,) = Path(catalog.uri, "crystals").glob("well=B*/*/*.parquet")
    file.write_bytes(file.read_bytes().replace(b"perimeter_um", b"perimeter_xm"))
    with pytest.raises(OSError, match="damaged"):
        Fragments(pafs.LocalFileSystem(), catalog.uri).of("crystals", listed)
