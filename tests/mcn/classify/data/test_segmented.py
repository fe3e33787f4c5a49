"""Crystals found by a segmenter get the shapes of the true ones."""

import shutil
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mcn.classify import load_classifier
from mcn.classify.data.dataset import ExamplesError
from mcn.classify.data.readers import read_examples
from mcn.classify.data.segmented import segmented_examples
from mcn.classify.evaluation.evaluate import evaluate_classifier
from mcn.mask import masks_from_labels
from mcn.segment import load_segmenter
from mcn.segment.dataset import list_pairs

from ....fakes import FixedSegmenter


def almost_true(core: Path) -> FixedSegmenter:
    """Finds all true crystals except the first of each tile, in reverse order."""
    return FixedSegmenter(masks_from_labels(pair.read()[1])[:0:-1] for pair in list_pairs(core))


def test_each_mask_gets_the_shape_of_the_crystal_it_fits(core: Path) -> None:
    true = read_examples(core)
    is_found = np.concatenate([[False], np.diff(true.groups) == 0])
    progress: list[None] = []
    examples, matched = segmented_examples(core, almost_true(core), lambda: progress.append(None))
    assert np.array_equal(examples.crops, true.crops[is_found])
    assert np.array_equal(examples.classes, true.classes[is_found])
    assert np.array_equal(examples.visible, true.visible[is_found])
    assert matched["n_true"] == len(true)
    assert matched["n_found"] == matched["n_matched"] == len(true) - 4
    assert matched["recall"] == pytest.approx(1 - 4 / len(true))
    assert matched["mean_iou"] == 1.0
    assert len(progress) == 4


def test_a_segmenters_masks_are_evaluated(core: Path) -> None:
    segmenter = load_segmenter("compact")
    metrics = evaluate_classifier(core, load_classifier(), segmenter=segmenter)
    assert metrics["segmenter"] == segmenter.name
    assert metrics["n"] == metrics["matched"]["n_matched"] > 0
    assert 0.5 < metrics["matched"]["mean_iou"] < 1
    assert metrics["matched"]["n_true"] == len(read_examples(core))


def test_a_segmenter_that_finds_nothing_is_named(core: Path) -> None:
    with pytest.raises(ExamplesError, match="fixed@"):
        segmented_examples(core, FixedSegmenter(repeat([])))


def test_crops_cannot_be_segmented_again(tmp_path: Path) -> None:
    with pytest.raises(ExamplesError, match="mcn core"):
        segmented_examples(tmp_path, FixedSegmenter(repeat([])))


def test_a_truth_with_other_crystals_is_refused(core: Path, tmp_path: Path) -> None:
    broken = tmp_path / "core"
    shutil.copytree(core, broken)
    table = broken / "truth" / "crystals.parquet"
    pq.write_table(pq.read_table(table).slice(1), table)
    with pytest.raises(ExamplesError, match="render the core again"):
        segmented_examples(broken, almost_true(core))
