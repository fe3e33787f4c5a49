"""The command line as a user runs it: a real process with an exit code and two streams."""

import subprocess
import sys
from pathlib import Path

import pytest

from ...waiting import DEADLINE_S
from .commands import mcn, refused


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys; sys.argv = ['mcn', '--help']\n"
        "from mcn.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'ray', 'pyarrow', 'matplotlib', 'duckdb'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"


def test_bad_usage_exits_2() -> None:
    assert mcn("nonsense").returncode == 2
    assert mcn("query").returncode == 2
    assert mcn("core", "x", "--wells", "0").returncode == 2


@pytest.mark.long
def test_bad_input_is_one_line(scanned: Path, tmp_path: Path) -> None:
    catalog = scanned / "catalog"
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letters.txt").write_text("something else")
    refused(mcn("scan", tmp_path / "nowhere", tmp_path / "c"), "nowhere")
    refused(mcn("scan", tmp_path / "empty", tmp_path / "c"), "empty")
    refused(mcn("scan", tmp_path / "other", tmp_path / "c"), "other")
    refused(mcn("scan", scanned / "core", tmp_path / "other"), "other")
    refused(mcn("query", tmp_path / "empty"), "empty")
    refused(mcn("query", catalog, "--well", "Nowhere-1"), "Nowhere-1")
    refused(mcn("query", catalog, "--depth", "1300:1200"), "1300")
    refused(mcn("query", catalog, "--shape", "cubic"), "cubic", "rhombic")
    refused(mcn("query", catalog, "--sql", "SELECT * FROM '/etc/passwd'"))
    refused(mcn("evaluate", "segmenter", tmp_path / "empty"), "images/")
    refused(mcn("scan", scanned / "core", tmp_path / "c", "--segmenter", "nothing"), "nothing")
    assert not (tmp_path / "c").exists()


def test_debug_shows_a_traceback(tmp_path: Path) -> None:
    run = mcn("query", tmp_path / "nowhere", "--debug")
    assert run.returncode == 1
    assert "Traceback" in run.stderr
