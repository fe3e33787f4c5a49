"""A well has one name, in every Unicode form and at every length."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from mcn.catalog.active_files import files
from mcn.catalog.data_files import PARTITIONS, STATISTICS, write_data_files
from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.export import export
from mcn.catalog.query import query, sql
from mcn.catalog.schema import ADDED_LATER, CRYSTALS, TILES, RowError, tile_id, tile_table
from mcn.catalog.storage import CatalogError
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep import maintenance
from mcn.catalog.upkeep.recovery import drop_outdated
from mcn.catalog.wells import LONGEST_FOLDER, plain_well, well_fault

from ...fakes import catalog_rows

NFC = "Köln-Süd é"
NFD = unicodedata.normalize("NFD", NFC)
LONG = "岩芯钻孔" * 20


@given(st.text(min_size=1, max_size=300))
def test_a_plain_name_is_unique_and_fits_into_a_folder(name: str) -> None:
    plain = plain_well(name)
    assert plain_well(plain) == plain
    assert unicodedata.normalize("NFC", plain) == plain
    assert len(quote(plain, safe="")) <= LONGEST_FOLDER
    assert plain_well(unicodedata.normalize("NFD", name)) == plain
    assert (well_fault(name) is None) == (plain == unicodedata.normalize("NFC", name))


def test_long_names_with_a_common_start_stay_distinct() -> None:
    assert plain_well(LONG + "1") != plain_well(LONG + "2")
    assert plain_well(LONG).startswith("岩芯钻孔")


def test_a_short_name_is_unchanged() -> None:
    for name in ("A-1", "007", "A/1", "well 5*?", "Ω3", "🪨"):
        assert plain_well(name) == name


def test_rows_are_stored_in_nfc(catalog: Catalog, make_tile: Any, make_crystal: Any) -> None:
    tile = make_tile(well=NFD, n_crystals=1)
    assert tile.well == NFC
    catalog.commit(
        catalog_rows([(tile, [make_crystal()])], catalog.depth_bin_m), tile_table([tile])
    )
    raw = tile_table([make_tile("raw", well=NFD)]).set_column(3, "well", pa.array([NFD]))
    catalog.commit(CRYSTALS.empty_table(), raw.cast(TILES))
    assert {*files(catalog.snapshot().tiles)["stored_well"].to_pylist()} == {NFC}


def test_a_tile_with_a_too_long_well_name_is_a_failed_row(catalog: Catalog, make_tile: Any) -> None:
    with pytest.raises(RowError, match="too long for a folder"):
        make_tile(well=LONG)
    tile = make_tile(well=LONG, status="failed", error=well_fault(LONG))
    catalog.commit(CRYSTALS.empty_table(), tile_table([tile]))
    (row,) = sql(catalog, "SELECT * FROM tiles").to_pylist()
    assert (row["status"], row["well"]) == ("failed", plain_well(LONG))
    assert query(catalog, [LONG]).num_rows == query(catalog, [plain_well(LONG)]).num_rows == 0
    assert maintenance.verify(catalog).ok
    assert maintenance.compact(catalog)["files_after"] == 1


def commit_as_older_version(catalog: Catalog, tile: Any, crystals: list[Any], well: str) -> None:
    """Commit rows as an older version did, with the well's name unchanged."""
    tables = {
        "crystals": catalog_rows([(tile, crystals)], 100.0),
        "tiles": tile_table([tile]).drop_columns("note"),
    }
    now = pa.scalar(datetime.now(UTC), CRYSTALS.field("scanned_at").type)
    for name, rows in tables.items():
        for column, value in (("well", pa.scalar(well)), ("scanned_at", now)):
            place = rows.schema.get_field_index(column)
            rows = rows.set_column(place, rows.schema.field(place), pa.repeat(value, len(rows)))
        tables[name] = rows
    catalog.commit_parts(write_data_files(catalog.uri, tables, "before"))


@pytest.fixture
def older(catalog: Catalog, make_tile: Any, make_crystal: Any) -> Catalog:
    """Rows of one well in both Unicode forms: one from an older version, one from this version."""
    tile = make_tile("old", well=NFC, depth_m=1200.0, n_crystals=2)
    commit_as_older_version(catalog, tile, [make_crystal()] * 2, NFD)
    new = make_tile("new", well=NFC, depth_m=1210.0, n_crystals=1)
    catalog.commit(catalog_rows([(new, [make_crystal()])], catalog.depth_bin_m), tile_table([new]))
    return catalog


@pytest.mark.parametrize("name", [NFC, NFD])
def test_a_well_of_an_older_catalogue_has_both_spellings(
    older: Catalog, name: str, tmp_path: Path
) -> None:
    assert {*files(older.snapshot().tiles)["stored_well"].to_pylist()} == {NFC, NFD}
    answer = query(older, [name])
    assert answer["well"].to_pylist() == [NFC] * 3
    assert depth_log(older, name, 10.0)["n_crystals"].to_pylist() == [2, 1]
    assert export(older, tmp_path / "a.csv", "csv", wells=[name]) == 3
    (well,) = maintenance.info(older)["wells"]
    assert (well["well"], well["tiles"], well["crystals"]) == (NFC, 2, 3)
    assert (
        sql(older, f"SELECT count(*) AS n FROM crystals WHERE well = '{NFC}'")["n"][0].as_py() == 3
    )
    with pytest.raises(CatalogError, match=f"no well 'Koln'; .*{NFC}"):
        query(older, ["Koln"])


def test_maintenance_of_an_older_catalogue_covers_both_spellings(
    older: Catalog, make_tile: Any, make_crystal: Any
) -> None:
    tile = make_tile("old", well=NFC, depth_m=1200.0, n_crystals=1)
    older.commit(catalog_rows([(tile, [make_crystal()])], older.depth_bin_m), tile_table([tile]))
    assert maintenance.verify(older).problems == []
    assert drop_outdated(older, datetime(2020, 1, 1, tzinfo=UTC)) == 1
    assert sql(older, "SELECT count(*) AS n FROM tiles")["n"][0].as_py() == 2
    for number in range(3):
        other = make_tile(f"old{number}", well=NFC, depth_m=1205.0, n_crystals=0)
        commit_as_older_version(older, other, [], NFD)
    before = query(older, [NFC])
    assert (
        maintenance.compact(older)["files_after"] < maintenance.compact(older)["files_before"] + 9
    )
    assert query(older, [NFC]).equals(before)
    stored = files(older.snapshot().tiles)["stored_well"].to_pylist()
    assert NFD not in stored, "compaction writes names in NFC"
    assert maintenance.verify(older).problems == []


def test_a_uri_has_one_tile_id_in_every_unicode_form() -> None:
    assert tile_id(f"s3://core/{NFC}.tif") == tile_id(f"s3://core/{NFD}.tif")
    assert tile_id("/core/\udce9.tif") != tile_id("/core/\udcea.tif")


def _without_later_columns(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field for field in schema if field.name not in ADDED_LATER])


def test_a_catalogue_of_an_older_version_can_be_read_and_extended(
    tmp_path: Path, make_tile: Any, make_crystal: Any
) -> None:
    folder = str(tmp_path / "older")
    older = {"crystals": _without_later_columns(CRYSTALS), "tiles": _without_later_columns(TILES)}
    for name, schema in older.items():
        DeltaTable.create(
            f"{folder}/{name}",
            schema,
            partition_by=list(PARTITIONS[name]),
            configuration={
                "mcn.format": "1",
                "mcn.depth_bin_m": "100.0",
                "delta.dataSkippingStatsColumns": ",".join(STATISTICS[name]),
            },
            raise_if_key_not_exists=False,
        )
    catalog = Catalog.open(folder)
    assert sql(catalog, "SELECT note FROM tiles").num_rows == 0
    tile = make_tile("old", n_crystals=1, scanned_at=datetime(2026, 1, 1, tzinfo=UTC))
    rows = {
        "crystals": catalog_rows([(tile, [make_crystal()])], 100.0),
        "tiles": tile_table([tile]),
    }
    before = {name: table.select(older[name].names) for name, table in rows.items()}
    for part in write_data_files(folder, before, "before"):
        catalog.delta_table(part.table).create_write_transaction(
            [part.added()],
            "append",
            older[part.table],
            partition_by=list(PARTITIONS[part.table]),
        )
    assert query(catalog)["completeness"].to_pylist() == [None]
    (row,) = depth_log(catalog, "A", 10.0).to_pylist()
    assert (row["n_crystals"], row["mean_roundness"], row["visible_pore_fraction"]) == (
        1,
        None,
        None,
    )
    assert sql(catalog, "SELECT note FROM tiles")["note"].to_pylist() == [None]
    assert maintenance.verify(catalog).problems == []
    noted = make_tile("new", n_crystals=1, note="page 1 of 3 is read")
    catalog.commit(
        catalog_rows([(noted, [make_crystal()])], catalog.depth_bin_m), tile_table([noted])
    )
    notes = sql(catalog, "SELECT note FROM tiles ORDER BY uri")["note"].to_pylist()
    assert notes == ["page 1 of 3 is read", None]
    other = make_tile("other", n_crystals=0)
    catalog.commit(CRYSTALS.empty_table(), tile_table([other]))
    maintenance.compact(catalog)
    assert maintenance.verify(catalog).problems == []
    grown = Catalog.open(folder)
    for name, schema in (("crystals", CRYSTALS), ("tiles", TILES)):
        assert {*pa.schema(grown.delta_table(name).schema()).names} == {*schema.names}
    assert {*query(grown, columns=["completeness"]).column(0).to_pylist()} == {1.0, None}
