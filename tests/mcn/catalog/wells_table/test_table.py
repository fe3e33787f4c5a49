"""The table of wells is atomic, versioned and checked, and a catalogue without it works."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from deltalake import DeltaTable

from mcn.catalog.query import sql
from mcn.catalog.storage import CatalogError, CatalogStorageError
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep import maintenance
from mcn.catalog.wells_table.table import import_wells, read_tops, read_wells, well_header


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.fixture
def wells(tmp_path: Path) -> str:
    return write(tmp_path, "wells.csv", "well,name,lat,lon\nA,Alpha,24.5,50\nZ,Zeta,1,2\n")


@pytest.fixture
def tops(tmp_path: Path) -> str:
    return write(
        tmp_path, "tops.csv", "well,formation,depth_m\nA,Upper,1250\nA,Lower,1300\nB,Upper,5\n"
    )


def test_a_catalogue_without_the_table(catalog: Catalog) -> None:
    assert read_wells(catalog).num_rows == read_tops(catalog).num_rows == 0
    assert set(well_header(catalog, "A").values()) == {None}
    assert sql(catalog, "SELECT count(*) AS n FROM wells")["n"].to_pylist() == [0]
    assert maintenance.verify(catalog).ok
    assert maintenance.vacuum(catalog, 0) == []


def test_imports_add_up(catalog: Catalog, wells: str, tops: str, tmp_path: Path) -> None:
    imported = import_wells(catalog, [wells, tops])
    assert (imported.wells, imported.tops, imported.total) == (3, 3, 3)
    assert imported.without_tiles == ["A", "B", "Z"]
    later = write(tmp_path, "later.csv", "well,name,operator\nA,Alfa,Ours\nC,,\n")
    assert import_wells(catalog, [later]).total == 4
    assert read_wells(catalog)["well"].to_pylist() == ["A", "B", "C", "Z"]
    assert well_header(catalog, "A") == {
        "name": "Alfa",
        "uwi": None,
        "latitude": 24.5,
        "longitude": 50.0,
        "operator": "Ours",
        "datum": None,
        "tops": [
            {"formation": "Upper", "depth_m": 1250.0},
            {"formation": "Lower", "depth_m": 1300.0},
        ],
    }
    assert read_tops(catalog).to_pylist() == [
        {"well": "A", "formation": "Upper", "depth_m": 1250.0, "base_m": 1300.0},
        {"well": "A", "formation": "Lower", "depth_m": 1300.0, "base_m": None},
        {"well": "B", "formation": "Upper", "depth_m": 5.0, "base_m": None},
    ]
    assert import_wells(catalog, [later], replace=True).total == 2
    assert well_header(catalog, "A")["latitude"] is None


def test_versions_stay_until_a_vacuum(catalog: Catalog, wells: str, tops: str) -> None:
    import_wells(catalog, [wells])
    before = DeltaTable(f"{catalog.uri}/wells").version()
    import_wells(catalog, [tops])
    assert maintenance.verify(catalog).ok
    old = DeltaTable(f"{catalog.uri}/wells", version=before).to_pyarrow_table()
    assert old["well"].to_pylist() == ["A", "Z"]
    assert [path.partition("/")[0] for path in maintenance.vacuum(catalog, 0)] == ["wells"]
    assert read_wells(catalog).num_rows == 3


def test_a_wrong_file_changes_nothing(catalog: Catalog, wells: str, tmp_path: Path) -> None:
    import_wells(catalog, [wells])
    bad = write(tmp_path, "bad.csv", "well,uwi\nA,1\nB,1\n")
    with pytest.raises(CatalogError, match=r"wells 'A' and 'B' have the same UWI '1'; correct"):
        import_wells(catalog, [bad])
    assert read_wells(catalog)["well"].to_pylist() == ["A", "Z"]
    assert import_wells(catalog, [wells]).total == 2


def test_imports_at_once_lose_nothing(catalog: Catalog, tmp_path: Path) -> None:
    names = [f"W{number}" for number in range(6)]
    files = [write(tmp_path, f"{name}.csv", f"well,name\n{name},x\n") for name in names]
    threads = [threading.Thread(target=import_wells, args=(catalog, [file])) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert read_wells(catalog)["well"].to_pylist() == names


def test_damage_is_found_and_named(catalog: Catalog, wells: str) -> None:
    import_wells(catalog, [wells])
    (path,) = Path(catalog.uri, "wells").glob("*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CatalogStorageError, match=path.name) as error:
        read_wells(catalog)
    assert error.value.trouble == "damaged"
    (problem,) = maintenance.verify(catalog).problems
    assert problem.startswith(f"wells/{path.name}")


def test_sql_joins_tops(core: Catalog, tops: str, tmp_path: Path) -> None:
    copied = Catalog.create(tmp_path / "copy")
    import_wells(copied, [tops])
    rows = sql(
        copied,
        "SELECT formation, count(crystal_id) AS n FROM tops LEFT JOIN crystals "
        "ON crystals.well = tops.well AND crystals.depth_m >= tops.depth_m GROUP BY ALL ORDER BY 1",
    )
    assert rows.to_pylist() == [{"formation": "Lower", "n": 0}, {"formation": "Upper", "n": 0}]
