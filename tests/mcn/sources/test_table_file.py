"""Tables that people write are read by their headings; more with real files in test_manifest."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from mcn.sources.path_pattern import SourceError
from mcn.sources.table_file import read_table_file, typed_column, used_columns

HEADINGS = {"well": "well", "lat": "latitude", "latitude": "latitude"}


def read(path: Path) -> pa.Table:
    pick = partial(
        used_columns, headings=HEADINGS, required=["well"], address=str(path), kind="list"
    )
    return pa.Table.from_batches(read_table_file(str(path), "list", pick, ["latitude"]))


def test_other_headings_are_known_and_unknown_columns_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Well;Lat;remarks\nA 1 ; 24,5 ;x\n;;\n")
    assert read(tmp_path / "a.csv").to_pylist() == [{"well": "A 1", "latitude": "24.5"}]


def test_messages_name_the_kind_of_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such list; check the address"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("lat\n1\n")
    with pytest.raises(SourceError, match=r"no column well \(it has lat\); a list needs well"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("well,lat,latitude\nA,1,1\n")
    with pytest.raises(SourceError, match="columns 'lat' and 'latitude' are the same"):
        read(tmp_path / "a.csv")


def test_a_column_is_converted_or_its_row_named() -> None:
    batch = pa.RecordBatch.from_pydict({"latitude": [" 1.5", "", "north"]})

    def error(row: int, value: object) -> SourceError:
        return SourceError(f"row {row} is {value!r}")

    good = typed_column(batch.slice(0, 2), "latitude", pa.float64(), error)
    assert good.to_pylist() == [1.5, None]
    assert typed_column(batch, "longitude", pa.float64(), error).null_count == 3
    with pytest.raises(SourceError, match="row 3 is 'north'"):
        typed_column(batch, "latitude", pa.float64(), error)
