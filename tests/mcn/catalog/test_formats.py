"""Tests of `mcn.catalog.formats`."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mcn.catalog.formats import write_table
from mcn.catalog.query import iter_batches, query, sql
from mcn.catalog.schema import CRYSTALS
from mcn.catalog.store import CatalogError
from mcn.mask import decode_rle


def written(answer, form: str) -> bytes:
    file = io.BytesIO()
    rows = write_table(answer, form, file)
    assert not file.closed
    if isinstance(answer, pa.Table):
        assert rows == answer.num_rows
    return file.getvalue()


def test_json_is_a_list_of_row_objects(core):
    rows = json.loads(written(query(core, ["A"], (1200.0, 1210.0)), "json"))
    assert len(rows) == 10
    first = rows[0]
    assert list(first) == CRYSTALS.names
    assert decode_rle(first["mask_rle"]).pixels.shape == (6, 5)
    assert first["confidence"] == 0.7
    assert first["touches_edge"] is False
    assert datetime.fromisoformat(first["scanned_at"]).utcoffset().total_seconds() == 0


def test_json_has_null_for_unknown_and_non_finite_values(core):
    (row,) = json.loads(written(query(core, ["B 2/Ü"]), "json"))
    assert row["equivalent_diameter_um"] is None
    assert row["well"] == "B 2/Ü"
    odd = pa.table({"x": [float("nan"), float("inf"), None, 0.1]})
    assert json.loads(written(odd, "json")) == [{"x": None}, {"x": None}, {"x": None}, {"x": 0.1}]


def test_empty_tables_can_be_written(core):
    empty = query(core, ["C"])
    assert json.loads(written(empty, "json")) == []
    assert written(empty, "csv").decode().count("\n") == 1
    assert pq.read_table(io.BytesIO(written(empty, "parquet"))).schema.equals(CRYSTALS)
    assert "0 rows" in written(empty, "table").decode()


def test_every_format_accepts_any_sql_result(core):
    answer = sql(
        core,
        "SELECT well, sum(area_px) AS total, list(DISTINCT shape) AS shapes, "
        "max(scanned_at) AS at, {'a': 1.5} AS pair, 1.25::DECIMAL(5, 2) AS price, "
        "DATE '2026-01-02' AS day, NULL AS none FROM crystals GROUP BY well ORDER BY well",
    )
    rows = json.loads(written(answer, "json"))
    assert rows[0]["total"] == 6000
    assert len(rows[0]["shapes"]) == 4
    assert (rows[0]["pair"], rows[0]["price"], rows[0]["day"]) == ({"a": 1.5}, 1.25, "2026-01-02")
    assert len(list(csv.DictReader(io.StringIO(written(answer, "csv").decode())))) == 2
    assert "B 2/Ü" in written(answer, "table").decode()
    assert pq.read_table(io.BytesIO(written(answer, "parquet"))).num_rows == 2


def test_unsupported_parquet_types_are_a_one_line_error(core):
    answer = sql(core, "SELECT INTERVAL 1 DAY AS day")
    with pytest.raises(CatalogError, match="cast the column") as raised:
        written(answer, "parquet")
    assert "\n" not in str(raised.value)


def test_csv_holds_every_column(core):
    answer = query(core, limit=3)
    rows = list(csv.DictReader(io.StringIO(written(answer, "csv").decode())))
    assert list(rows[0]) == CRYSTALS.names
    assert json.loads(rows[0]["mask_rle"])["size"] == [48, 64]
    assert rows[0]["confidence"] == "0.7"


def test_parquet_is_read_back_unchanged(core):
    answer = query(core)
    assert pq.read_table(io.BytesIO(written(answer, "parquet"))).equals(answer)


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "table"])
def test_batches_and_a_table_are_written_alike(core, monkeypatch, form):
    from_table = written(query(core), form)
    monkeypatch.setattr("mcn.catalog.query._BATCH_ROWS", 7)
    from_batches = written(iter_batches(core), form)
    if form == "parquet":
        assert pq.read_table(io.BytesIO(from_batches)).equals(pq.read_table(io.BytesIO(from_table)))
    else:
        assert from_batches == from_table


def test_table_has_one_line_per_crystal(core):
    lines = written(query(core, ["A"], (1200.0, 1200.0)), "table").decode().splitlines()
    assert len(lines) == 1 + 5 + 1
    assert lines[0].split()[:4] == ["crystal", "well", "depth", "m"]
    assert "rhombic" in lines[1]
    assert "1200" in lines[1]
    assert lines[-1] == "5 rows"


def test_long_tables_are_truncated_but_counted(core):
    assert "201 rows, the first 200 shown" in written(query(core), "table").decode()


def test_unusable_formats_are_refused(core):
    expected = "unknown format 'xml'; use one of table, csv, json, parquet"
    with pytest.raises(CatalogError, match=expected):
        written(query(core, limit=1), "xml")

    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(CatalogError, match="Parquet cannot be written to a terminal"):
        write_table(query(core, limit=1), "parquet", Terminal())
