"""A manifest lists tiles row by row, and a row that is wrong is named."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from mcn.manifest import read_manifest
from mcn.source import LISTED, SourceError


def listed(manifest: Path, tiles: str = "s3://core") -> pa.Table:
    return pa.Table.from_batches(read_manifest(str(manifest), tiles), LISTED)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_both_kinds_say_the_same(tmp_path: Path, kind: str) -> None:
    rows = pa.table(
        {
            "sample": [1, 2, 3],
            "well": ["007", "NA", "Å 1"],
            "uri": ["a.tif", "s3://other/b.tif", "/data/c.tif"],
            "depth_m": [1.5, -2.0, 3000.0],
            "pixel_size_um": [0.01, None, 0.5],
        }
    )
    manifest = tmp_path / f"tiles.{kind}"
    csv.write_csv(rows, manifest) if kind == "csv" else pq.write_table(rows, manifest)
    tiles = listed(manifest)
    assert tiles.schema == LISTED
    assert tiles["well"].to_pylist() == ["007", "NA", "Å 1"]
    assert tiles["uri"].to_pylist() == ["s3://core/a.tif", "s3://other/b.tif", "file:///data/c.tif"]
    assert tiles["depth_m"].to_pylist() == [1.5, -2.0, 3000.0]
    assert tiles["pixel_size_um"].to_pylist() == [0.01, None, 0.5]


def test_wells_that_are_numbers_are_names(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"uri": ["a"], "well": [7], "depth_m": pa.array([3], pa.int8())}),
        tmp_path / "m.parquet",
    )
    assert listed(tmp_path / "m.parquet")["well"].to_pylist() == ["7"]


def test_relative_uris_start_in_the_tiles_folder(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri,well,depth_m\nsub/a.tif,A,1\n")
    tiles = listed(tmp_path / "m.csv", str(tmp_path / "core"))
    assert tiles["uri"].to_pylist() == [f"file://{tmp_path}/core/sub/a.tif"]


def test_a_long_manifest_is_a_stream_with_rows_still_numbered(tmp_path: Path) -> None:
    text = ["uri,well,depth_m", *(f"{i}.tif,A,{i}" for i in range(99_999)), "last.tif,A,deep"]
    (tmp_path / "m.csv").write_text("\n".join(text))
    batches = read_manifest(str(tmp_path / "m.csv"), "s3://core")
    assert next(batches).num_rows < 99_999
    with pytest.raises(SourceError, match="row 100000: depth_m is 'deep'"):
        list(batches)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("uri,well\na.tif,A\n", "no column depth_m (it has uri, well)"),
        ("uri,well,depth_m\na.tif,A,1\nb.tif,A,1m\n", "row 2: depth_m is '1m'; write a depth"),
        ("uri,well,depth_m\na.tif,A,\n", "row 1: depth_m is None"),
        ("uri,well,depth_m\na.tif,A,nan\n", "row 1: depth_m is nan"),
        ("uri,well,depth_m\na.tif,,1\n", "row 1: well is None; write a text"),
        ("uri,well,depth_m\n,A,1\n", "row 1: uri is None"),
        ("uri,well,depth_m,pixel_size_um\na,A,1,0\n", "row 1: pixel_size_um is 0.0"),
        ("uri,well,depth_m\n", "lists no tile"),
        ("", "no column uri, well, depth_m"),
        ("uri,well,depth_m\na.tif,A\n", "cannot be read as a manifest"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text(text)
    with pytest.raises(SourceError, match=re.escape(says)) as error:
        listed(manifest)
    assert str(error.value).startswith(str(manifest))
    assert "\n" not in str(error.value)


def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such manifest"):
        listed(tmp_path / "m.csv")
    (tmp_path / "m.txt").touch()
    with pytest.raises(SourceError, match=r"name a \.parquet or \.csv file"):
        listed(tmp_path / "m.txt")
    (tmp_path / "m.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(SourceError, match="cannot be read as a manifest"):
        listed(tmp_path / "m.parquet")
    pq.write_table(
        pa.table({"uri": ["a"], "well": ["A"], "depth_m": [[1.0]]}), tmp_path / "n.parquet"
    )
    with pytest.raises(SourceError, match=r"row 1: depth_m is \[1.0\]"):
        listed(tmp_path / "n.parquet")
