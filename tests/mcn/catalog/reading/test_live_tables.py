"""An open catalogue sees each commit at once, and never other files than the log names."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from mcn.catalog.active_files import TableSnapshot, files
from mcn.catalog.query import query
from mcn.catalog.reading import live_tables
from mcn.catalog.storage import CatalogError
from mcn.catalog.store import Catalog, NoCatalogError
from mcn.catalog.upkeep.maintenance import compact, vacuum

from ..conftest import Commit, MakeCrystal, MakeTile

WELLS = ("A", "B 2/Ü", "A%2F", "ÅB", "007", "7")


def check(catalog: Catalog) -> None:
    """The snapshot that was refreshed is the one that `deltalake` loads."""
    now = catalog.snapshot()
    for name in ("tiles", "crystals"):
        loaded = TableSnapshot.of(name, catalog.delta_table(name))
        refreshed: TableSnapshot = getattr(now, name)
        assert refreshed.version == loaded.version
        assert [*refreshed.by_well] == [*loaded.by_well]
        assert files(refreshed).equals(files(loaded))


def test_snapshots_follow_the_log(
    tmp_path: Path, make_tile: MakeTile, make_crystal: MakeCrystal, commit: Commit
) -> None:
    catalog = Catalog.create(tmp_path / "c")
    other = Catalog(catalog.uri)
    check(other)
    unknown = {"equivalent_diameter_um": None}
    for number in range(12):
        well = WELLS[number % len(WELLS)]
        tile = make_tile(f"{number}", well, 1000.0 + 37 * number)
        commit(catalog, (tile, [make_crystal(**unknown)] * (number % 3)))
        if number == 8:
            compact(catalog)
        check(other)
    assert query(other).equals(query(catalog))
    assert {*query(other)["well"].to_pylist()} <= {*WELLS}
    compact(catalog)
    vacuum(catalog, 0)
    check(other)
    assert query(other).num_rows == 12
    with_new_column = other.delta_table("tiles")
    with_new_column.alter.set_table_properties({"delta.appendOnly": "false"})
    check(other)


def test_a_commit_is_not_loaded_with_the_whole_log(
    core: Catalog,
    tmp_path: Path,
    make_tile: MakeTile,
    commit: Commit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalog = Catalog(shutil.copytree(core.uri, tmp_path / "c"))
    before = catalog.snapshot()
    assert catalog.snapshot() is before
    commit(Catalog(catalog.uri), (make_tile("new", "A", 99.0), []))
    monkeypatch.setattr(TableSnapshot, "of", None)
    now = catalog.snapshot()
    assert now.tiles.version == before.tiles.version + 1
    assert files(now.tiles, depth=(99.0, 99.0)).num_rows == 1
    assert now.tiles.by_well["C"] is before.tiles.by_well["C"]


def test_a_catalogue_that_is_gone_or_replaced_is_noticed(
    core: Catalog, tmp_path: Path, make_tile: MakeTile, commit: Commit
) -> None:
    catalog = Catalog(shutil.copytree(core.uri, tmp_path / "c"))
    assert query(catalog).num_rows == 201
    shutil.rmtree(catalog.uri)
    with pytest.raises(NoCatalogError):
        query(catalog)
    commit(Catalog.create(catalog.uri), (make_tile(), []))
    assert query(catalog).num_rows == 0
    check(catalog)


def test_a_log_whose_next_entries_were_removed_is_loaded_again(
    core: Catalog,
    tmp_path: Path,
    make_tile: MakeTile,
    commit: Commit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalog = Catalog(shutil.copytree(core.uri, tmp_path / "c"))
    monkeypatch.setattr(live_tables, "_LOOK_AGAIN_S", -1.0)
    for depth in (1.0, 2.0, 3.0):
        commit(Catalog(catalog.uri), (make_tile(f"{depth}", "A", depth), []))
    Catalog(catalog.uri).delta_table("tiles").create_checkpoint()
    for version in range(4):
        Path(catalog.uri, "tiles", "_delta_log", f"{version:020d}.json").unlink()
    check(catalog)
    assert files(catalog.snapshot().tiles, ["A"], (None, 3.0)).num_rows == 3


def test_a_damaged_new_entry_is_named(
    core: Catalog, tmp_path: Path, make_tile: MakeTile, commit: Commit
) -> None:
    catalog = Catalog(shutil.copytree(core.uri, tmp_path / "c"))
    commit(Catalog(catalog.uri), (make_tile("new", "A", 99.0), []))
    entry = Path(catalog.uri, "tiles", "_delta_log", f"{2:020d}.json")
    text = entry.read_text()
    entry.write_text(text.replace('"size":', '"size":1'))
    with pytest.raises(CatalogError, match="cut short or was changed"):
        catalog.snapshot()
    entry.write_text(text)
    check(catalog)


def test_a_catalogue_in_another_process_is_an_address(core: Catalog) -> None:
    data = pickle.dumps(core)
    assert len(data) < 500
    other = pickle.loads(data)
    assert other == core
    assert other.shapes == core.shapes
    assert query(other).equals(query(core))
