"""Files of wells and tops: read as people write them, and refused by the row that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mcn.catalog.wells_table.wells_file import read_wells_file
from mcn.sources.path_pattern import SourceError

WELLS = """Well; Well name; API; Lat; Long (deg); Company; Datum
007;Köln 大庆;05-123;24,5;50,25;Aramco;KB
A-2;;;;;;
"""
TOPS = """well,formation,depth (ft)
007,Arab-D,4000
007,خف,4100.5
A-2,,
"""


def test_a_file_of_wells(tmp_path: Path) -> None:
    (tmp_path / "wells.csv").write_text(WELLS)
    file = read_wells_file(str(tmp_path / "wells.csv"))
    assert file.tops is None
    assert file.headers["007"] == {
        "name": "Köln 大庆",
        "uwi": "05-123",
        "latitude": 24.5,
        "longitude": 50.25,
        "operator": "Aramco",
        "datum": "KB",
    }
    assert set(file.headers["A-2"].values()) == {None}


def test_a_file_of_tops_in_feet(tmp_path: Path) -> None:
    (tmp_path / "tops.csv").write_text(TOPS)
    file = read_wells_file(str(tmp_path / "tops.csv"))
    assert file.tops == {"007": [("Arab-D", 1219.2), ("خف", 1249.8324)], "A-2": []}
    assert file.headers == {"007": {}, "A-2": {}}


def test_parquet_with_numbers_as_wells(tmp_path: Path) -> None:
    rows = pa.table({"well": [7, 7], "surface": ["A", "B"], "md_m": [1, 2], "uwi": [12, 12]})
    pq.write_table(rows, tmp_path / "tops.parquet")
    file = read_wells_file(str(tmp_path / "tops.parquet"))
    assert file.tops == {"7": [("A", 1.0), ("B", 2.0)]}
    assert file.headers == {"7": {"uwi": "12"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("well,name\nA,x\nB,y\nA,z\n", "well 'A' is there twice, in rows 1 and 3; leave one out"),
        ("well,name\nA,x\n,y\n", "row 2: has no well"),
        ("well,lat,lon\nA,91,0\n", "row 1: well 'A' has the latitude 91, outside -90 to 90; write"),
        ("well,lat,lon\nA,0,-181\n", "the longitude -181, outside -180 to 180"),
        ("well,lat,lon\nA,120.5,30\n", "latitude and longitude seem to be swapped"),
        ("well,lat,lon\nA,nan,30\n", "the latitude nan, outside"),
        ("well,lat,lon\nA,12,\n", "well 'A' has no longitude; give both coordinates"),
        ("well,lat\nA,12\n", "well 'A' has no longitude"),
        ("well,lat,lon\nA,24°30',50\n", 'row 1: latitude is "24°30\'"; write a number'),
        (
            "well,formation,depth_m\nA,Khuff,2150\nB,Arab,5\nA,Sudair,2010\n",
            "row 3: tops of well 'A' are out of order: 'Sudair' at 2010 m is listed below 'Khuff' "
            "at 2150 m; correct the depth, or list the tops of a well downwards",
        ),
        (
            "well,formation,depth_m\nA,Khuff,1\nA,KHUFF,2\n",
            "row 2: formation 'KHUFF' of well 'A' is also in row 1; leave one out",
        ),
        ("well,formation,depth_m\nA,Khuff,\n", "row 1: has no depth"),
        ("well,formation,depth_m\nA,,5\n", "row 1: has no formation"),
        ("well,formation,depth_m\nA,Khuff,inf\n", "has the depth inf m, outside -20000 to 20000"),
        ("well,formation,depth_m\nA,Khuff,1e30\n", "has the depth 1e+30 m, outside"),
        ("well,formation,depth_ft\nA,Khuff,-99999\n", "has the depth -30479.7 m, outside"),
        ("", "is empty; write a line of headings"),
        ("w\0e\0l\0l\0,\0n\0a\0m\0e\0\n\0", "is not text in UTF-8; save it as CSV UTF-8"),
        ("well,name\nA,\0\n", "row 1: name has a NUL character; save the file as CSV UTF-8"),
        ("well,formation,depth_m\nA,Khuff,deep\n", "row 1: depth_m is 'deep'; write a number"),
        (
            "well,formation,top\nA,Khuff,5\n",
            "column 'top' has no unit; name it depth_m or depth_ft",
        ),
        ("well,formation\nA,Khuff\n", "no column depth_m; tops need"),
        ("well,depth_m\nA,5\n", "no column formation"),
        ("well,formation,depth_m,depth_ft\nA,K,5,5\n", "depths in metres and in feet"),
        (
            "well,name,formation,depth_m\nA,x,K,5\nA,y,L,6\n",
            "well 'A' has another name in row 2 than in row 1",
        ),
        ("name,lat\nA,1\n", "no column well (it has name, lat)"),
        ("well,sample\nA,1\n", "has only the column 'well'"),
        ("well,id\nA,1\n", "columns 'well' and 'id' are the same"),
        ("well,name\n", "names no well"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "wells.csv").write_text(text)
    with pytest.raises(SourceError, match=re.escape(message)) as error:
        read_wells_file(str(tmp_path / "wells.csv"))
    assert str(error.value).startswith(str(tmp_path / "wells.csv"))
    assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such wells file"):
        read_wells_file(str(tmp_path / "wells.csv"))
    (tmp_path / "wells.xlsx").touch()
    with pytest.raises(SourceError, match=r"not a wells file; name a \.parquet or \.csv"):
        read_wells_file(str(tmp_path / "wells.xlsx"))
    (tmp_path / "wells.csv").write_text(f"well,name\n{'岩' * 200},x\n")
    with pytest.raises(SourceError, match="row 1: the well name"):
        read_wells_file(str(tmp_path / "wells.csv"))
