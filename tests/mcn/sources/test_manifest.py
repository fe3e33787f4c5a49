"""A manifest lists one tile per row, and an invalid row is named."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from mcn.sources.listing import LISTED
from mcn.sources.manifest import read_manifest
from mcn.sources.path_pattern import SourceError


def listed(manifest: Path, tiles: str = "s3://core") -> pa.Table:
    return pa.Table.from_batches(read_manifest(str(manifest), tiles), LISTED)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_csv_and_parquet_give_the_same(tmp_path: Path, kind: str) -> None:
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


def test_relative_uris_are_resolved_against_the_tiles_folder(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri,well,depth_m\nsub/a.tif,A,1\n")
    tiles = listed(tmp_path / "m.csv", str(tmp_path / "core"))
    assert tiles["uri"].to_pylist() == [f"file://{tmp_path}/core/sub/a.tif"]


def test_a_long_manifest_is_streamed_with_row_numbers(tmp_path: Path) -> None:
    text = ["uri,well,depth_m", *(f"{i}.tif,A,{i}" for i in range(99_999)), "last.tif,A,deep"]
    (tmp_path / "m.csv").write_text("\n".join(text))
    batches = read_manifest(str(tmp_path / "m.csv"), "s3://core")
    assert next(batches).num_rows < 99_999
    with pytest.raises(SourceError, match="row 100000: depth_m is 'deep'"):
        list(batches)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uri,well\na.tif,A\n", "no column depth_m (it has uri, well)"),
        ("uri,well,depth_m\na.tif,A,1\nb.tif,A,1m\n", "row 2: depth_m is '1m'; write a depth"),
        ("uri,well,depth_m\na.tif,A,\n", "row 1: depth_m is None"),
        ("uri,well,depth_m\na.tif,A,nan\n", "row 1: depth_m is nan"),
        ("uri,well,depth_m\na.tif,,1\n", "row 1: well is None; write a non-empty text"),
        ("uri,well,depth_m\n,A,1\n", "row 1: uri is None"),
        ("uri,well,depth_m,pixel_size_um\na,A,1,0\n", "row 1: pixel_size_um is 0.0"),
        ("uri,well,depth_m\n", "lists no tile"),
        ("", "is empty; write a line of headings"),
        ("uri,well,depth_m\na.tif,A\n", "row 1: has 2 cells instead of 3"),
    ],
)
def test_invalid_rows_are_named(tmp_path: Path, text: str, message: str) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text(text)
    with pytest.raises(SourceError, match=re.escape(message)) as error:
        listed(manifest)
    assert str(error.value).startswith(str(manifest))
    assert "\n" not in str(error.value)


def test_invalid_manifests_are_refused(tmp_path: Path) -> None:
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


HEADERS = [
    "uri,well,depth_m,pixel_size_um",
    "URI,Well,Depth_M,Pixel_Size_um",
    "Uri, WELL , Depth_m, PIXEL_SIZE_UM ",
    " uri , well , depth_m , pixel_size_um",
    '"URI", "Well", "Depth M", "Pixel Size um"',
    "\ufeffuri,well,depth_m,pixel_size_um",
    "\ufeff\"URI\",'Well',depth-m,pixel_size_um",
    "URI;Well;Depth_m;Pixel_size_um",
    "URI\tWell\tDepth_m\tPixel_size_um",
    "URI,Well,Depth (m),Pixel size (µm)",
    'Uri,well,"Depth, m",pixel_size_μm',
    "URI;Well;Depth [m];Pixel size [um]",
]
ROWS = [
    "a.tif,W 1,1200.5,0.05",
    "a.tif, W 1, 1200.5, 0.05",
    "  a.tif ,\tW 1 , 1200.5 ,0.05 ",
    'a.tif, "W 1", 1200.5, "0.05"',
    '"a.tif","W 1"," 1200.5",0.05,',
    "\na.tif,W 1,1200.5,0.05\n\n , , , \n",
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("header", HEADERS)
def test_capitals_spaces_and_quotes_are_ignored(
    tmp_path: Path, header: str, row: str, end: str
) -> None:
    delimiter = max(",;\t", key=header.count)
    if delimiter == "\t" and "\t" in row:
        row = row.replace("\t", "")
    text = f"{header}\n{row.replace(',', delimiter)}\n".replace("\n", end)
    (tmp_path / "m.csv").write_bytes(text.encode())
    (tile,) = listed(tmp_path / "m.csv").to_pylist()
    assert (tile["uri"], tile["well"], tile["depth_m"], tile["pixel_size_um"]) == (
        "s3://core/a.tif",
        "W 1",
        1200.5,
        0.05,
    )


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16"])
def test_wells_in_every_script_and_encoding(tmp_path: Path, code: str) -> None:
    (tmp_path / "m.csv").write_bytes("uri,well,depth_m\n大庆.tif,Köln 大庆,1\n".encode(code))
    (tile,) = listed(tmp_path / "m.csv").to_pylist()
    assert (tile["uri"], tile["well"]) == ("s3://core/大庆.tif", "Köln 大庆")


@pytest.mark.parametrize("code", ["cp1252", "latin-1", "utf-16-le"])
def test_other_encodings_are_refused_with_advice(tmp_path: Path, code: str) -> None:
    (tmp_path / "m.csv").write_bytes("uri,well,depth_m\na.tif,Köln,1\n".encode(code))
    with pytest.raises(SourceError, match=r"save it as CSV UTF-8|no column uri"):
        listed(tmp_path / "m.csv")


@pytest.mark.parametrize("name", ["pixel_size", "Pixel size (nm)", "PixelSize", "pixel_size_m"])
def test_pixel_sizes_in_other_units_are_not_dropped(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.csv").write_text(f"uri,well,depth_m,{name}\na.tif,A,1,50\n")
    with pytest.raises(SourceError, match=f"column '{re.escape(name)}' may be in other units"):
        listed(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text(f"uri,well,depth_m,{name},pixel_size_um\na.tif,A,1,50,0.05\n")
    assert listed(tmp_path / "m.csv")["pixel_size_um"].to_pylist() == [0.05]


def test_commas_may_be_quoted_or_decimal(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('Depth_m, URI, Well\n1, "a, b.tif", "W, 1"\n')
    (tile,) = listed(tmp_path / "m.csv").to_pylist()
    assert (tile["uri"], tile["well"]) == ("s3://core/a, b.tif", "W, 1")
    (tmp_path / "m.csv").write_text("URI;Well;Depth_m;Pixel_size_um\na,b.tif;W;1200,5;0,05\n")
    (tile,) = listed(tmp_path / "m.csv").to_pylist()
    assert (tile["uri"], tile["depth_m"], tile["pixel_size_um"]) == (
        "s3://core/a,b.tif",
        1200.5,
        0.05,
    )


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_parquet_columns_are_normalised(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table(
        {
            " URI ": pa.array(["a.tif ", " b.tif"], kind),
            "Well": pa.array([" W 1", "W 1 "], kind),
            "Depth M": [1, 2],
            "PIXEL_SIZE_UM": pa.array([" 0.05", ""], kind),
            "Sidecar": pa.array(["a.txt", None], kind),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    tiles = listed(tmp_path / "m.parquet")
    assert tiles["uri"].to_pylist() == ["s3://core/a.tif", "s3://core/b.tif"]
    assert tiles["well"].to_pylist() == ["W 1", "W 1"]
    assert tiles["pixel_size_um"].to_pylist() == [0.05, None]
    assert tiles["sidecar"].to_pylist() == ["s3://core/a.txt", None]


def test_equivalent_columns_are_named(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri,Well,WELL,depth_m\na.tif,A,B,1\n")
    with pytest.raises(SourceError, match="columns 'Well' and 'WELL' are the same"):
        listed(tmp_path / "m.csv")


@pytest.mark.parametrize("size", ["0", "-1", "1e-300", "1e9", "1001", "nan", "inf", "-inf", "wide"])
def test_invalid_pixel_sizes_are_named_with_their_row(tmp_path: Path, size: str) -> None:
    (tmp_path / "m.csv").write_text(f"uri,well,depth_m,pixel_size_um\na,A,1,\nb,A,2,{size}\n")
    with pytest.raises(SourceError, match=r"row 2: pixel_size_um is .*from 1e-06 to 1000"):
        listed(tmp_path / "m.csv")
    if size != "wide":
        table = {"uri": ["a"], "well": ["A"], "depth_m": [1.0], "pixel_size_um": [float(size)]}
        pq.write_table(pa.table(table), tmp_path / "m.parquet")
        with pytest.raises(SourceError, match=r"row 1: pixel_size_um is .*from 1e-06 to 1000"):
            listed(tmp_path / "m.parquet")
