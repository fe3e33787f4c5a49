"""A catalogue as it was: the versions of both tables that belong together, and the history."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mcn.catalog.correcting.changes import Change, correct
from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.query import query, sql
from mcn.catalog.reading import versions
from mcn.catalog.reading.versions import AsOf, history, parse_as_of
from mcn.catalog.storage import CatalogError, CatalogQueryError
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import compact
from mcn.catalog.upkeep.recovery import drop_outdated
from mcn.catalog.wells_table.table import import_wells, read_tops

from ..conftest import Commit, MakeCrystal, MakeTile


@pytest.fixture
def grown(
    catalog: Catalog, make_tile: MakeTile, make_crystal: MakeCrystal, commit: Commit
) -> Catalog:
    """Version 1: one tile; 2: another; 3: the first again, its old rows removed as 4; 5 compact."""
    commit(catalog, (make_tile("a"), [make_crystal()]))
    commit(catalog, (make_tile("b", depth_m=1250.0), [make_crystal()] * 2))
    commit(catalog, (make_tile("a"), [make_crystal()] * 4))
    drop_outdated(catalog, datetime.now(UTC) - timedelta(hours=1))
    compact(catalog)
    return catalog


@pytest.mark.parametrize("noted", [True, False])
def test_each_version_has_its_crystals(
    grown: Catalog, noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not noted:  # As commits of older versions.
        monkeypatch.setattr(versions, "CRYSTALS_VERSION", "nothing")
    rows = history(grown)
    assert rows["version"].to_pylist() == [*range(rows.num_rows)]
    expected = {0: 0, 1: 1, 2: 3, 3: 6}
    for version in range(rows.num_rows):
        then = Catalog(grown.uri, as_of=version)
        count = expected.get(version, 6)
        assert query(then).num_rows == count, version
        assert sql(then, "SELECT * FROM crystals").num_rows == count
        if count:
            assert sum(depth_log(then, "A")["n_crystals"].to_pylist()) == count
        assert pickle.loads(pickle.dumps(then)) == then
        assert query(pickle.loads(pickle.dumps(then))).num_rows == count
    assert query(grown).num_rows == 6
    assert Catalog(grown.uri) != Catalog(grown.uri, as_of=3)


def test_the_history_says_what_was_done(grown: Catalog) -> None:
    rows = history(grown).to_pylist()
    actions = [row["action"] for row in rows]
    assert actions[:4] == ["created", "scan", "scan", "scan"]
    assert set(actions[4:]) == {"cleanup", "compaction"}
    assert [row["crystals"] for row in rows[:4]] == [0, 1, 2, 4]
    assert [row["tiles"] for row in rows[:4]] == [0, 1, 1, 1]
    assert rows[1]["files_added"] == 2
    assert rows[1]["scans"] == "commit"
    assert sorted(row["time"] for row in rows) == [row["time"] for row in rows]


def test_a_time_is_that_of_the_last_commit_before(grown: Catalog) -> None:
    times = history(grown)["time"].to_pylist()
    assert query(Catalog(grown.uri, as_of=times[1])).num_rows == 1
    just_before = times[2] - timedelta(milliseconds=1)
    if just_before >= times[1]:
        assert query(Catalog(grown.uri, as_of=just_before.isoformat())).num_rows == 1
    assert query(Catalog(grown.uri, as_of="2999-01-01")).num_rows == 6


@pytest.mark.parametrize("as_of", ["2020-01-01", 99, "99", "1999-01-01T00:00"])
def test_before_the_first_and_after_the_last(grown: Catalog, as_of: str | int) -> None:
    with pytest.raises(CatalogQueryError, match="give a version from 0 to") as raised:
        Catalog(grown.uri, as_of=as_of)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("as_of", ["yesterday", "", "2026-13-01", "1.5"])
def test_what_is_no_version_and_no_time(as_of: str) -> None:
    with pytest.raises(CatalogQueryError, match="is no version and no time"):
        parse_as_of(as_of)


def test_the_past_cannot_be_changed(grown: Catalog, make_tile: MakeTile, commit: Commit) -> None:
    then = Catalog(grown.uri, as_of=1)
    with pytest.raises(CatalogError, match="open it without a version"):
        commit(then, (make_tile("c"), []))
    with pytest.raises(CatalogError, match="there is no crystal catalogue"):
        Catalog(Path(grown.uri).parent / "none", as_of=1)


def test_corrections_and_wells_are_those_of_the_time(
    catalog: Catalog,
    make_tile: MakeTile,
    make_crystal: MakeCrystal,
    commit: Commit,
    tmp_path: Path,
) -> None:
    commit(catalog, (make_tile("a"), [make_crystal()]))
    (row,) = query(catalog).to_pylist()
    seen = {row["crystal_id"]: None}

    def call_it(shape: str) -> datetime:
        change = Change("shape", row["tile_id"], "A", [*seen], shape, seen=seen)
        return correct(catalog, change, "lab").rows["corrected_at"][0].as_py()

    def shape(as_of: AsOf | None = None) -> str:
        return query(Catalog(catalog.uri, as_of), corrected=True)["shape"][0].as_py()

    def tops(as_of: AsOf | None = None) -> list[float]:
        return read_tops(Catalog(catalog.uri, as_of))["depth_m"].to_pylist()

    file = tmp_path / "tops.csv"
    first = call_it("spherical")
    file.write_text("well,formation,depth_m\nA,Arab,1100\n")
    import_wells(catalog, [str(file)])
    commit(catalog, (make_tile("b", depth_m=1250.0), []))
    second = call_it("amorphous")
    file.write_text("well,formation,depth_m\nA,Arab,1150\n")
    import_wells(catalog, [str(file)])
    assert shape() == shape(2) == shape("2999-01-01") == "amorphous"
    assert shape(1) == shape(first) == "spherical"
    assert shape(second - timedelta(microseconds=1)) == "spherical"
    assert shape(first - timedelta(microseconds=1)) == "rhombic"
    assert tops() == tops(2) == [1150.0]
    assert tops(1) == [1100.0]
    assert tops(first - timedelta(milliseconds=1)) == []
    with pytest.raises(CatalogError, match="open it without a version"):
        correct(
            Catalog(catalog.uri, 1),
            Change("delete", row["tile_id"], "A", [*seen], seen=seen),
            "lab",
        )
    with pytest.raises(CatalogError, match="open it without a version"):
        import_wells(Catalog(catalog.uri, 1), [str(file)])
