"""Invalid settings of a training are bad usage, reported before data are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcn.cli.main import app


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--preset", "tpu"), "unknown preset 'tpu'; use one of cpu, gpu"),
        (("--start", "watershed"), "watershed cannot be trained"),
        (("--steps", "0"), "--steps"),
        (("--lora", "-1"), "--lora"),
        (("--rate", "-0.1"), "--rate"),
    ],
)
def test_invalid_settings_of_a_segmenter(
    tmp_path: Path, words: tuple[str, ...], reason: str
) -> None:
    out = tmp_path / "new.safetensors"
    command = ["train", "segmenter", str(tmp_path / "nothing"), "--out", str(out), *words]
    run = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert run.exit_code == 2
    assert run.stdout == ""
    assert reason in run.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("--epochs", "0"), ("--tiles", "0"), ("--rate", "-1")])
def test_invalid_settings_of_a_classifier(tmp_path: Path, words: tuple[str, ...]) -> None:
    out = str(tmp_path / "new.safetensors")
    run = CliRunner().invoke(app, ["train", "classifier", "--out", out, *words])
    assert run.exit_code == 2
    assert not list(tmp_path.iterdir())
