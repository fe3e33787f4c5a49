"""Commands evaluate models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mcn.cli.main import app

from .commands import mcn


def test_evaluating_the_segmenter(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    labels = np.zeros((96, 96), np.uint16)
    y, x = np.mgrid[:96, :96]
    labels[np.hypot(x - 48, y - 48) < 30] = 1
    grey = np.where(labels > 0, 190, 40) + np.random.default_rng(0).normal(0, 5, labels.shape)
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(tmp_path / "images" / "disc.png")
    Image.fromarray(labels).save(tmp_path / "masks" / "disc.png")
    metrics = json.loads(mcn("evaluate", "segmenter", tmp_path, "--json").stdout)
    assert metrics["n_images"] == metrics["n_true"] == 1
    assert metrics["f1_50"] == 1.0
    assert {"ap50", "ap", "mean_iou", "n_pred", "seconds_per_image"} <= metrics.keys()


def test_evaluating_the_classifier(scanned: Path) -> None:
    metrics = json.loads(mcn("evaluate", "classifier", scanned / "core", "--json").stdout)
    assert 0.25 < metrics["accuracy"] <= 1
    assert set(metrics["average_precision"]) == set(metrics["roc_auc"])
    assert "rhombic" in metrics["average_precision"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "give either DATA or --predictions FILE"),
        (("data", "--predictions", "p.npy"), "give either DATA or --predictions FILE"),
        (("--predictions", "p.npy", "--counts", "117,many"), "give whole numbers"),
        (("data", "--limit", "0"), "--limit"),
    ],
)
def test_a_classifier_without_data(words: tuple[str, ...], reason: str) -> None:
    run = CliRunner().invoke(app, ["evaluate", "classifier", *words], env={"COLUMNS": "200"})
    assert run.exit_code == 2
    assert run.stdout == ""
    assert reason in run.stderr
