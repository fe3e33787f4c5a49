"""Label files are read in the formats of spreadsheets."""

from pathlib import Path

import pytest

from mcn.classify.data.dataset import ExamplesError
from mcn.classify.data.labels import read_csv_rows


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_rows_are_the_same_in_every_format(
    tmp_path: Path, delimiter: str, encoding: str, line_end: str
) -> None:
    path = tmp_path / "labels.csv"
    rows = [["file ", " shape", "note"], ["a.png", " rhombic ", "größer"], ["", "", ""], ["b.png"]]
    text = line_end.join(delimiter.join(row) for row in rows)
    path.write_bytes(text.encode(encoding))
    assert list(read_csv_rows(path, ("file", "shape"))) == [
        ({"file": "a.png", "shape": "rhombic", "note": "größer"}, f"{path} row 1"),
        ({"file": "b.png", "shape": "", "note": ""}, f"{path} row 3"),
    ]


def test_quoted_values_may_hold_the_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('file,shape\n"a, b.png","rhombic"\n')
    ((row, _),) = read_csv_rows(path, ("file",))
    assert row == {"file": "a, b.png", "shape": "rhombic"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its columns are none; it needs 'file' and 'shape'"),
        (b"file,form\na.png,rhombic", "its columns are file, form; it needs"),
        (
            "file,shape\nå.png,rhombic".encode("latin-1"),
            "cannot be read as CSV .* save it as UTF-8",
        ),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(ExamplesError, match=reason) as error:
        list(read_csv_rows(path, ("file", "shape")))
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExamplesError, match=r"gone\.csv: cannot be read"):
        list(read_csv_rows(tmp_path / "gone.csv", ("file",)))
