"""A scan as a command: its summary, and the effect of a second one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mcn.cli.main import app

from .commands import mcn


def test_a_scan_prints_one_json_object(scanned: Path) -> None:
    summary = json.loads((scanned / "scan.json").read_text())
    assert summary["tiles_ok"] == 3
    assert summary["tiles_failed"] == summary["tiles_skipped"] == 0
    assert summary["crystals"] > 100
    assert {"seconds", "tiles_per_second"} <= summary.keys()


def test_a_repeated_scan_adds_nothing(scanned: Path) -> None:
    summary = json.loads(mcn("scan", scanned / "core", scanned / "catalog", "--json").stdout)
    assert (summary["tiles_ok"], summary["tiles_skipped"], summary["crystals"]) == (0, 3, 0)


def plan(*words: str) -> Result:
    return CliRunner().invoke(app, ["plan", *words], env={"COLUMNS": "200"})


def test_a_plan_estimates_hours_and_cost() -> None:
    rate = ("--tiles-per-second", "2.5", "--workers", "4", "--price-per-hour", "3")
    run = plan("--tiles", "36000", *rate, "--json")
    assert run.exit_code == 0, run.stderr
    planned = json.loads(run.stdout)
    assert planned["tiles"] == 36000
    assert planned["hours"] > 0
    assert planned["worker_hours"] == pytest.approx(4 * planned["hours"])
    assert planned["cost"] == pytest.approx(3 * planned["worker_hours"], abs=0.01)
    assert planned["assumptions"]
    first, *assumptions = plan("--tiles", "36000", *rate).stdout.splitlines()
    assert first.startswith("36,000 tiles on 4 workers: ")
    assert len(assumptions) == len(planned["assumptions"])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--tiles", "9"), "give --tiles-per-second, or --source"),
        (("--tiles-per-second", "1", "--source", "core"), "give --tiles-per-second, or --source"),
        (("--tiles-per-second", "1"), "give --tiles, or --source"),
        (("--tiles", "0", "--tiles-per-second", "1"), "--tiles"),
    ],
)
def test_a_plan_of_nothing_is_bad_usage(words: tuple[str, ...], reason: str) -> None:
    run = plan(*words)
    assert run.exit_code == 2
    assert run.stdout == ""
    assert reason in run.stderr
