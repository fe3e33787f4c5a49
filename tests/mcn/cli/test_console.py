"""Standard output has only the result; everything else goes to standard error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcn.cli.console import print_json, progress_bar, say, show
from mcn.cli.main import app

METRICS = {"segmenter": "watershed", "ap50": 0.123456, "n_images": 3, "path": Path("a.png")}


@pytest.mark.parametrize("size", ["1e-300", "1e9", "nan"])
@pytest.mark.parametrize(
    "command", [("segment", "a.tif", "--out", "out"), ("remote", "analyze", "a.tif")], ids="_".join
)
def test_invalid_pixel_sizes_are_bad_usage(command: tuple[str, ...], size: str) -> None:
    run = CliRunner().invoke(app, [*command, "--pixel-size", size])
    assert run.exit_code == 2
    assert run.stdout == ""
    assert "is impossible" in " ".join(run.stderr.replace("│", " ").split())


def test_metrics_are_one_json_object_or_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    show(METRICS, as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {**METRICS, "path": "a.png"}
    show(METRICS, as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["segmenter", "watershed"],
        ["ap50", "0.1235"],
        ["n_images", "3"],
        ["path", "a.png"],
    ]


def test_counts_by_class_are_a_line_for_each_class(capsys: pytest.CaptureFixture[str]) -> None:
    faults = {"true": {"0-16 px": {"hit": 2, "missed": 1}, "16-48 px": {"hit": 5, "missed": 0}}}
    show({"ap50": 0.5, "faults": faults}, as_json=False)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "ap50                 0.5000",
        "faults true 0-16 px  hit 2, missed 1",
        "faults true 16-48 px hit 5, missed 0",
    ]


def test_messages_and_progress_do_not_use_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bar("counting", 3) as advance:
        advance()
        advance(3)
    say("three counted")
    print_json({"counted": 3})
    out, err = capsys.readouterr()
    assert out == '{"counted": 3}\n'
    assert err.splitlines()[-1] == "three counted"
    assert "counting" not in err, "no bar without a terminal"
