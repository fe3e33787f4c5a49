"""Tests of `mcn.catalog.store`: real Delta tables in folders."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import fastparquet
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from mcn.catalog.query import query, sql
from mcn.catalog.schema import CRYSTALS, TILES, RowError, tile_table
from mcn.catalog.store import Catalog, CatalogError
from mcn.catalog.upkeep.maintenance import verify

from ...fakes import catalog_rows
from ...waiting import DEADLINE_S

ODD_WELLS = [
    "A/B 1", "100%", "%2F", "Ünï-7", "0012", "x=y", "w:1?#&", "..", "a\\b", "q'uote\"",
    "a+b", "tab\there", "__HIVE_DEFAULT_PARTITION__", "*", "[x]", "null", " ",
]  # fmt: skip


def one_line(error: pytest.ExceptionInfo[CatalogError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_depth_bin_is_fixed_at_creation(tmp_path):
    Catalog.create(tmp_path / "c", depth_bin_m=12.5)
    assert Catalog.open(tmp_path / "c").depth_bin_m == 12.5
    assert Catalog.open_or_create(tmp_path / "c").depth_bin_m == 12.5
    with pytest.raises(CatalogError, match=r"bins are 12\.5 m wide, not 50 m") as raised:
        Catalog.open_or_create(tmp_path / "c", 50.0)
    one_line(raised)


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf")])
def test_unusable_bins_are_refused(tmp_path, width):
    with pytest.raises(CatalogError, match="give a width above 0"):
        Catalog.open_or_create(tmp_path / "c", width)
    assert not (tmp_path / "c").exists()


def test_opening_something_else_is_refused(tmp_path):
    def reason(path: Path) -> str:
        with pytest.raises(CatalogError) as raised:
            Catalog.open(path)
        assert str(path) in str(raised.value)
        return one_line(raised)

    assert "there is no crystal catalogue" in reason(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "file").write_text("x")
    assert "there is no crystal catalogue" in reason(tmp_path / "file")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("x")
    assert "there is no crystal catalogue" in reason(tmp_path / "photos")
    for name in ("crystals", "tiles"):
        write_deltalake(str(tmp_path / "others" / name), pa.table({"a": [1]}))
    assert "are not a crystal catalogue; choose another folder" in reason(tmp_path / "others")
    for name, schema in (("crystals", CRYSTALS), ("tiles", TILES)):
        DeltaTable.create(
            str(tmp_path / "newer" / name),
            schema,
            configuration={"mcn.format": "2"},
            raise_if_key_not_exists=False,
        )
    assert "written by a newer mcn" in reason(tmp_path / "newer")


def test_creation_changes_no_existing_files(tmp_path, catalog):
    with pytest.raises(CatalogError, match="a catalogue already exists"):
        Catalog.create(catalog.uri)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_text("x")
    for make in (Catalog.create, Catalog.open_or_create):
        with pytest.raises(CatalogError, match=r"contains other files \(a\.png\)") as raised:
            make(photos)
        one_line(raised)
        with pytest.raises(CatalogError, match="is a file"):
            make(photos / "a.png")
    assert os.listdir(photos) == ["a.png"]


@pytest.mark.parametrize("uri", ["memory://c", "gs://bucket/c", "s3://", "/tmp/a%20b", "/tmp/[a]"])
def test_unusable_addresses_are_refused(uri):
    with pytest.raises(CatalogError) as raised:
        Catalog.open_or_create(uri)
    assert uri in one_line(raised)


def test_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(CatalogError) as raised:
        Catalog.create("/proc/catalog")
    assert "/proc/catalog" in one_line(raised)


def test_paths_file_uris_and_incomplete_catalogues(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    created = Catalog.create("here and Ü")
    assert created.uri == str(tmp_path / "here and Ü")
    assert Catalog.open(f"file://{tmp_path}/here%20and%20%C3%9C") == created
    Catalog.create(tmp_path / "half")
    for path in (tmp_path / "half" / "tiles" / "_delta_log").iterdir():
        path.unlink()
    with pytest.raises(CatalogError, match="its table tiles is missing, but crystals exists"):
        Catalog.open("half")
    assert Catalog.open_or_create("half") == Catalog.open(tmp_path / "half")


def test_crystals_without_a_tile_row_are_invisible(catalog, make_tile, make_crystal, commit):
    tile = make_tile(n_crystals=3)
    rows = catalog_rows([(tile, [make_crystal()] * 3)], catalog.depth_bin_m)
    write_deltalake(f"{catalog.uri}/crystals", rows, mode="append")
    commit(catalog, (make_tile("b"), []))
    assert query(catalog).num_rows == 0
    assert sql(catalog, "SELECT * FROM crystals").num_rows == 0
    assert verify(catalog).orphan_crystals == 3

    commit(catalog, (tile, [make_crystal()] * 3))
    assert query(catalog).num_rows == 3
    assert verify(catalog).ok


def test_a_tile_committed_again_replaces_its_rows(catalog, make_tile, make_crystal, commit):
    commit(catalog, (make_tile(etag="1"), [make_crystal()] * 3))
    commit(catalog, (make_tile(etag="1"), [make_crystal()] * 3))
    assert query(catalog).num_rows == 3
    commit(catalog, (make_tile(etag="2"), [make_crystal("spherical")] * 2))
    visible = query(catalog)
    assert visible["shape"].to_pylist() == ["spherical"] * 2
    assert sql(catalog, "SELECT etag FROM tiles").to_pylist() == [{"etag": "2"}]
    commit(catalog, (make_tile(etag="3", status="failed", error="gone"), []))
    assert query(catalog).num_rows == 0
    assert verify(catalog).ok


def test_each_pair_of_models_has_its_rows(catalog, make_tile, make_crystal, commit):
    commit(catalog, (make_tile(), [make_crystal()] * 3))
    commit(catalog, (make_tile(segmenter="vit_h@ffffffffffff"), [make_crystal()] * 2))
    all_crystals = sql(catalog, "SELECT crystal_id FROM all_crystals")
    assert len({*all_crystals["crystal_id"].to_pylist()}) == 5
    assert query(catalog).num_rows == query(catalog, segmenter="vit_h@ffffffffffff").num_rows == 2
    assert query(catalog, segmenter="compact@0123456789ab").num_rows == 3


def test_wells_may_have_any_name(catalog, make_tile, make_crystal, commit):
    commit(catalog, *((make_tile(well=well), [make_crystal()]) for well in ODD_WELLS))
    assert sorted(query(catalog)["well"].to_pylist()) == sorted(ODD_WELLS)
    for well in ODD_WELLS[::3]:
        assert query(catalog, [well], (1000.0, 1300.0))["well"].to_pylist() == [well]
    assert verify(catalog).ok


def test_inconsistent_rows_are_refused(catalog, make_tile, make_crystal):
    tile, three = make_tile(n_crystals=3), [make_crystal()] * 3
    rows = catalog_rows([(tile, three)], catalog.depth_bin_m)
    no_crystals, no_tiles = CRYSTALS.empty_table(), TILES.empty_table()

    def refused(crystals: pa.Table, tiles: pa.Table, reason: str) -> None:
        with pytest.raises(RowError, match=reason):
            catalog.commit(crystals, tiles)

    refused(rows, no_tiles, "a tile that is not committed with them")
    refused(rows.slice(1), tile_table([tile]), "n_crystals of a tile")
    refused(no_crystals, tile_table([tile]), "n_crystals of a tile")
    refused(rows, tile_table([make_tile(n_crystals=3, status="failed")]), "failed tile has")
    refused(
        no_crystals, tile_table([make_tile(), make_tile()]), "a tile appears twice in one commit"
    )
    refused(catalog_rows([(tile, three)], 7.0), tile_table([tile]), "does not match bins of 100 m")
    nameless = tile_table([tile]).set_column(3, TILES.field("well"), pa.array([""]))
    refused(no_crystals, nameless, "a row has no well")
    unknown = tile_table([tile]).set_column(3, TILES.field("well"), pa.array([None], pa.string()))
    refused(no_crystals, unknown, "well.*null")
    assert catalog.snapshot().tiles.version == catalog.snapshot().crystals.version == 0
    catalog.commit(no_crystals, no_tiles)
    assert query(catalog).num_rows == 0


def test_files_are_plain_parquet_for_other_readers(core):
    path = f"{core.uri}/crystals"
    arrow = pq.read_table(path, partitioning="hive")
    assert arrow.num_rows == 201
    assert {*arrow.column_names} == {*CRYSTALS.names}
    assert arrow["scanned_at"].type == pa.timestamp("us", tz="UTC")
    counted = duckdb.sql(f"SELECT count(*) FROM read_parquet('{path}/**/*.parquet')").fetchall()
    assert counted == [(201,)]
    files = [str(file) for file in Path(path).rglob("*.parquet")]
    frames = [fastparquet.ParquetFile(file).to_pandas() for file in files]
    assert sum(map(len, frames)) == 201
    assert frames[0]["shape"].dtype != "category"


def test_concurrent_writers_lose_nothing(catalog, make_tile, make_crystal, commit):
    def write(writer: int) -> None:
        opened = Catalog.open_or_create(catalog.uri)
        for number in range(4):
            tile = make_tile(f"{writer}-{number}", f"W{number % 2}", 100.0 * writer)
            commit(opened, (tile, [make_crystal()] * 3))

    with ThreadPoolExecutor(4) as writers:
        for done in [writers.submit(write, writer) for writer in range(4)]:
            done.result(DEADLINE_S)
    assert query(catalog).num_rows == 4 * 4 * 3
    assert verify(catalog).ok


PROCESS = """
import sys
from mcn.catalog.query import query
from mcn.catalog.schema import CRYSTALS, Tile, tile_id, tile_table
from mcn.catalog.store import Catalog
catalog = Catalog.open_or_create(sys.argv[1])
for name in sys.argv[2:]:
    tile = Tile(tile_id=tile_id(name), uri=name, well="A", depth_m=1.0, segmenter="s@1",
                classifier="c@1", scan_id=sys.argv[2])
    catalog.commit(CRYSTALS.empty_table(), tile_table([tile]))
query(catalog)
"""


def test_concurrent_processes_create_one_catalogue(tmp_path):
    names = (["a", "b", "both"], ["both", "c", "d"])
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path / "c"), *tile_names])
        for tile_names in names
    ]
    assert [process.wait(DEADLINE_S) for process in running] == [0, 0]
    catalog = Catalog.open(tmp_path / "c")
    uris = sql(catalog, "SELECT uri FROM tiles ORDER BY uri")["uri"].to_pylist()
    assert uris == ["a", "b", "both", "c", "d"]
