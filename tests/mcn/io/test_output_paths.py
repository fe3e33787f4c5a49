"""Outputs that cannot be written are found before the work."""

from pathlib import Path

import pytest

from mcn.io.output_paths import OutputError, prepare_file, prepare_folder


def test_folders_are_made(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "a" / "b")
    prepare_file(tmp_path / "c" / "weights.safetensors")
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["plain", "plain/deeper", "plain/deeper/still"])
def test_a_file_is_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(OutputError, match=r"is, or lies in, a file; choose another"):
        prepare_folder(tmp_path / name)
    with pytest.raises(OutputError, match=r"is, or lies in, a file; choose another"):
        prepare_file(tmp_path / name / "x.json")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        prepare_file(tmp_path)


def test_folders_that_take_no_files_are_refused() -> None:
    with pytest.raises(OutputError, match=r"/proc: cannot be written \(.+\); choose"):
        prepare_file(Path("/proc/x.safetensors"))
