from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mcn.mask import masks_from_labels
from mcn.segment.dataset import DataError, list_pairs
from mcn.segment.evaluation.metrics import (
    average_precision,
    evaluate_segmenter,
    match,
)

from ....fakes import FixedSegmenter


def squares(*squares_xys: tuple[int, int, int]) -> NDArray[np.uint16]:
    labels = np.zeros((64, 64), np.uint16)
    for i, (x, y, side) in enumerate(squares_xys, start=1):
        labels[y : y + side, x : x + side] = i
    return labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for name, labels in (("a", squares((2, 2, 10), (30, 30, 20))), ("b", squares((5, 5, 40)))):
        Image.fromarray((labels > 0).astype(np.uint8) * 200).save(
            tmp_path / "images" / f"{name}.png"
        )
        Image.fromarray(labels).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def test_the_truth_scores_one(folder: Path) -> None:
    pairs = list_pairs(folder)
    segmenter = FixedSegmenter([masks_from_labels(pair.read()[1]) for pair in pairs])
    metrics = evaluate_segmenter(segmenter, pairs)
    assert metrics["ap"] == metrics["ap50"] == metrics["f1_50"] == metrics["mean_iou"] == 1.0
    assert (metrics["n_images"], metrics["n_true"], metrics["n_pred"]) == (2, 3, 3)
    assert metrics["panoptic_quality"] == 1.0
    for error in ("count", "mean_diameter", "median_diameter", "area_fraction"):
        assert metrics[f"{error}_error"] == 0.0


def test_missed_and_false_crystals_lower_f1(folder: Path) -> None:
    predicted = masks_from_labels(squares((2, 2, 10), (50, 2, 8)))
    metrics = evaluate_segmenter(FixedSegmenter([predicted, []]), list_pairs(folder))
    assert metrics["f1_50"] == pytest.approx(2 * 1 / (3 + 2))
    assert metrics["f1_50_by_image"] == pytest.approx((2 * 1 / (2 + 2) + 0) / 2)
    assert metrics["n_pred"] == 2


def test_ap_falls_with_the_threshold() -> None:
    """A square shifted by a tenth of its side overlaps at 0.82, a match up to IoU 0.80."""
    truth = masks_from_labels(squares((10, 10, 20)))
    shifted = masks_from_labels(squares((12, 10, 20)))
    assert match(truth, shifted, (64, 64)) == pytest.approx([18 * 20 / (22 * 20)])
    ap, ap50 = average_precision([truth], [shifted], [(64, 64)])
    assert ap50 == pytest.approx(1.0)
    assert ap == pytest.approx(7 / 10)


def test_ap_without_predictions_or_truth() -> None:
    truth = masks_from_labels(squares((10, 10, 20)))
    assert average_precision([truth], [[]], [(64, 64)]) == (0.0, 0.0)
    assert average_precision([[]], [truth], [(64, 64)]) == (None, None)


def test_errors_are_relative_and_signed(folder: Path) -> None:
    """One of three crystals is missed."""
    predicted = [masks_from_labels(squares((2, 2, 10))), masks_from_labels(squares((5, 5, 40)))]
    metrics = evaluate_segmenter(FixedSegmenter(predicted), list_pairs(folder))
    assert metrics["count_error"] == pytest.approx(-1 / 3)
    assert metrics["area_fraction_error"] == pytest.approx((1700 - 2100) / 2100)
    assert metrics["mean_diameter_error"] == pytest.approx(25 / (70 / 3) - 1)


def test_masks_of_another_size_are_named(folder: Path) -> None:
    Image.fromarray(np.zeros((5, 5), np.uint16)).save(folder / "masks" / "b.png")
    with pytest.raises(DataError, match=r"b\.png.*\(5, 5\)"):
        evaluate_segmenter(FixedSegmenter([[], []]), list_pairs(folder))
