"""Columns and order of crystals; the formats are tested over HTTP."""

import io
import json

import pyarrow as pa
import pyarrow.csv
import pytest

from mcn.catalog.storage import CatalogQueryError
from serve.deployments.crystal_answers import encode_crystals, sort_crystals
from serve.deployments.messages import CSV, CrystalRequest

from ...fakes import classified_table, crystal_row

TABLE = classified_table([crystal_row("rhombic"), crystal_row("spherical", area_px=9)])
TABLE = TABLE.append_column("crystal_id", pa.array(["a", "b"]))


def test_columns_are_those_asked_for() -> None:
    request = CrystalRequest(columns=("shape", "area_px"), masks="none")
    assert json.loads(encode_crystals(TABLE, request)) == [
        {"crystal_id": "a", "shape": "rhombic", "area_px": 30},
        {"crystal_id": "b", "shape": "spherical", "area_px": 9},
    ]
    coded = json.loads(encode_crystals(TABLE, CrystalRequest(columns=("shape",))))
    assert {*coded[0]} == {"crystal_id", "shape", "mask_rle"}
    with pytest.raises(CatalogQueryError, match="did you mean 'shape'"):
        encode_crystals(TABLE, CrystalRequest(columns=("shap",)))


def test_csv_has_codes_or_none() -> None:
    for masks, has_codes in (("polygons", True), ("none", False)):
        request = CrystalRequest(masks=masks, media_type=CSV)
        table = pa.csv.read_csv(io.BytesIO(encode_crystals(TABLE, request)))
        assert ("mask_rle" in table.column_names) == has_codes


def test_order() -> None:
    assert sort_crystals(TABLE, "area_px")["crystal_id"].to_pylist() == ["b", "a"]
    assert sort_crystals(TABLE, "-area_px")["crystal_id"].to_pylist() == ["a", "b"]
    with pytest.raises(CatalogQueryError, match="no column 'x'"):
        sort_crystals(TABLE, "x")
