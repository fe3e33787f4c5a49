"""A report shows the evaluated images and their metrics."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcn.mask import masks_from_labels
from mcn.segment.dataset import list_pairs
from mcn.segment.evaluation.metrics import compute_metrics, evaluate_images
from mcn.segment.evaluation.report import write_report

from ....fakes import FixedSegmenter


def square(x: int, y: int, side: int) -> np.ndarray:
    labels = np.zeros((64, 64), np.uint16)
    labels[y : y + side, x : x + side] = 1
    return labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images with one crystal each, and one without any."""
    truths = {"a": square(2, 2, 20), "b": square(5, 5, 40), "none": square(0, 0, 0)}
    for name, labels in truths.items():
        for part, pixels in (("images", (labels > 0) * np.uint8(200)), ("masks", labels)):
            (tmp_path / part).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / part / f"{name}.png")
    return tmp_path


def test_a_report_shows_the_best_and_the_worst(folder: Path, tmp_path: Path) -> None:
    segmenter = FixedSegmenter([masks_from_labels(square(2, 2, 20)), [], []])
    evaluated = evaluate_images(segmenter, list_pairs(folder))
    metrics = compute_metrics(evaluated)
    write_report(evaluated, metrics, tmp_path / "report", n=1)
    files = {path.name for path in (tmp_path / "report").iterdir()}
    plots = {"precision_recall.png", "sizes.png", "best_1_a.png", "worst_1_b.png"}
    plots.add("fault_missed.png")
    assert files == {"figures.json", *plots}
    assert json.loads((tmp_path / "report" / "figures.json").read_text()) == metrics
    for name in plots:
        with Image.open(tmp_path / "report" / name) as picture:
            assert len(picture.convert("RGB").getcolors(2**20) or []) > 5


def test_a_segmenter_that_finds_nothing_has_a_report(folder: Path, tmp_path: Path) -> None:
    evaluated = evaluate_images(FixedSegmenter([[], [], []]), list_pairs(folder))
    write_report(evaluated, compute_metrics(evaluated), tmp_path / "report")
    overlays = sorted(path.name for path in (tmp_path / "report").glob("*st_*.png"))
    assert [name[:6] for name in overlays] == ["best_1", "best_2", "worst_", "worst_"]
