"""Tests of `mcn.catalog.query`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcn.catalog.active_files import files
from mcn.catalog.query import Selection, iter_batches, query, sql
from mcn.catalog.schema import CRYSTALS
from mcn.catalog.store import Catalog, CatalogError
from mcn.taxonomy import SHAPES


def refused(ask) -> str:
    with pytest.raises(CatalogError) as raised:
        ask()
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_query_by_well_depth_and_shape(core):
    answer = query(core, ["A"], (1200.0, 1250.0), ["rhombic"])
    assert answer.schema.equals(CRYSTALS)
    assert {*answer["well"].to_pylist()} == {"A"}
    assert {*answer["shape"].to_pylist()} == {"rhombic"}
    depths = answer["depth_m"].to_pylist()
    assert (min(depths), max(depths)) == (1200.0, 1250.0)
    everything = query(core).to_pylist()
    expected = [
        row
        for row in everything
        if row["well"] == "A" and row["depth_m"] <= 1250 and row["shape"] == "rhombic"
    ]
    assert answer.to_pylist() == expected


def test_empty_results_keep_their_columns(core):
    for answer in (query(core, ["A"], (5000.0, None)), query(core, ["C"]), query(core, limit=0)):
        assert answer.num_rows == 0
        assert answer.schema.equals(CRYSTALS)


def test_open_ranges_and_several_wells(core):
    assert query(core, depth=(None, 100.0))["well"].to_pylist() == ["B 2/Ü"]
    assert query(core, depth=(1590.0, None)).num_rows == 5
    assert query(core, ["A", "B 2/Ü", "C"]).num_rows == 201


def test_results_are_sorted_for_any_batch_size(core, monkeypatch):
    expected = query(core)
    keys = [(row["well"], row["depth_m"], row["crystal_id"]) for row in expected.to_pylist()]
    assert keys == sorted(keys)
    monkeypatch.setattr("mcn.catalog.query._BATCH_ROWS", 7)
    monkeypatch.setattr("mcn.catalog.reading.rows._LEAST_ROWS", 7)
    batches = list(iter_batches(core))
    assert len(batches) > 3
    assert query(core).equals(expected)
    for limit in (1, 7, 8, 200, 500):
        assert query(core, limit=limit).equals(expected.slice(0, limit))


def test_files_of_other_partitions_are_not_read(core, tmp_path):
    table = core.snapshot().crystals
    assert files(table).num_rows == 5
    assert files(table, ["A"], (1200.0, 1250.0)).num_rows == 1
    assert files(table, ["A"], (1291.0, 1299.0)).num_rows == 0
    assert files(table, ["C"]).num_rows == 0


def test_missing_files_of_other_partitions_do_not_matter(tmp_path, make_tile, make_crystal, commit):
    catalog = Catalog.create(tmp_path / "c")
    for well, depth in (("A", 10.0), ("A", 510.0), ("B", 10.0)):
        commit(catalog, (make_tile(well=well, depth_m=depth), [make_crystal()]))
    for file in Path(catalog.uri, "crystals", "well=A", "depth_bin=0").iterdir():
        file.unlink()
    assert query(catalog, ["A"], (500.0, 600.0)).num_rows == 1
    assert sql(catalog, "SELECT * FROM crystals WHERE well = 'B'").num_rows == 1
    assert "verify" in refused(lambda: query(catalog, ["A"]))


def test_unknown_names_are_reported_with_the_known_ones(core):
    assert "did you mean 'B 2/Ü'?" in refused(lambda: query(core, ["B 2/U"]))
    assert "use one of 'A', 'B 2/Ü', 'C'" in refused(lambda: query(core, ["Nowhere"]))
    assert "did you mean 'rhombic'" in refused(lambda: query(core, shapes=["rhombus"]))
    assert "a limit of -1" in refused(lambda: query(core, limit=-1))


def test_a_single_name_is_not_a_list_of_letters(catalog, make_tile, make_crystal, commit):
    for well in ("1", "2", "12"):
        commit(catalog, (make_tile(well=well), [make_crystal("rhombic")] * int(well)))
    assert set(query(catalog, wells="12")["well"].to_pylist()) == {"12"}
    assert query(catalog, "12", shapes="rhombic").num_rows == 12
    assert "give text: '12'" in refused(lambda: query(catalog, [12]))


def test_query_of_an_empty_catalogue(catalog):
    assert query(catalog).num_rows == 0
    assert sql(catalog, "SELECT count(*) AS n FROM crystals").to_pylist() == [{"n": 0}]
    assert "there is none yet" in refused(lambda: query(catalog, ["A"]))


def test_sql_sees_crystals_and_tiles(core):
    counted = sql(core, "SELECT shape, count(*) AS n FROM crystals GROUP BY 1").to_pylist()
    assert {row["shape"] for row in counted} == {*SHAPES}
    assert sum(row["n"] for row in counted) == 201
    failed = sql(core, "SELECT error FROM tiles WHERE status = 'failed'")
    assert failed.to_pylist() == [{"error": "empty file"}]
    pivoted = sql(core, "PIVOT crystals ON shape USING count(*) GROUP BY well")
    assert pivoted.num_rows == 2
    assert sql(core, "EXPLAIN SELECT 1").num_rows == 1


def test_sql_names_of_a_join_are_distinct(core):
    names = sql(core, "SELECT t.well, c.well, c.* FROM tiles t JOIN crystals c USING (tile_id)")
    assert len({*names.column_names}) == len(names.column_names)
    assert names.column_names[:2] == ["well", "well_1"]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM '{file}'",
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM secret",
        "COPY crystals TO '{folder}/out.csv'",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
        "ATTACH '{folder}/out.db'",
        "EXPORT DATABASE '{folder}'",
        "INSTALL httpfs",
        "LOAD '{folder}/extension'",
        "SET enable_external_access = true",
        "CREATE TABLE mine AS SELECT 1",
        "DROP VIEW crystals",
        "DELETE FROM crystals",
        "CALL pragma_version()",
        "PRAGMA version",
        "SELECT 1; SELECT 2",
        "",
        "-- nothing",
        "SELEC 1",
        "SELECT nothing FROM crystals",
        "SELECT 'a'::INT",
    ],
)
def test_sql_can_read_and_write_nothing_else(core, tmp_path, text):
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    message = refused(lambda: sql(core, text.format(file=secret, folder=tmp_path)))
    assert message.startswith("SQL: ")
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    assert sql(core, "SELECT count(*) AS n FROM crystals").to_pylist() == [{"n": 201}]


def test_selection_by_model(core):
    assert "use one of compact@0123456789ab" in refused(
        lambda: query(core, segmenter="nobody@000000000000")
    )
    pieces = iter_batches(core, Selection(classifier="nsr@0123456789ab"))
    assert sum(piece.num_rows for piece in pieces) == 201
