"""Tables have the metrics of all crystals, of each group, and of each shape."""

from typing import Any

import numpy as np
import pytest

from mcn.classify.evaluation.scores import score_with_intervals
from mcn.classify.evaluation.tables import (
    as_text,
    basis,
    confusion_table,
    heading,
    key_table,
    shape_table,
    visibility_table,
    visible_range,
)
from mcn.taxonomy import CALCITE, SHAPES


@pytest.fixture(scope="module")
def metrics() -> dict[str, Any]:
    """Metrics of forty crystals, none of them spherical."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 40)
    probabilities = rng.dirichlet(np.ones(4), 40).astype(np.float32)
    scored = score_with_intervals(
        np.arange(40), classes, probabilities, SHAPES, CALCITE.facet_of, probabilities.max(axis=1)
    )
    return {"classifier": "nsr@1", "data": "crops", **scored}


def test_all_rows_have_the_same_length(metrics: dict[str, Any]) -> None:
    for table in (key_table(metrics), shape_table(metrics), confusion_table(metrics)):
        assert {len(row) for row in table} == {len(table[0])}


def test_a_cell_has_its_interval(metrics: dict[str, Any]) -> None:
    rows = {title: cells for title, *cells in key_table(metrics)}
    assert rows["crystals"] == ["40"]
    low, high = metrics["intervals"]["accuracy"]
    assert rows["accuracy"] == [f"{metrics['accuracy']:.3f} [{low:.3f}, {high:.3f}]"]
    kinds, *_ = key_table({**metrics, "spoilt_masks": metrics})
    assert kinds == ["", "all crystals", "perturbed masks"]


def test_metrics_of_a_missing_shape_are_a_dash(metrics: dict[str, Any]) -> None:
    rows = {title: cells for title, *cells in shape_table(metrics)}
    assert [title.split()[-1] for title in rows] == ["shape", *SHAPES]
    assert rows["3 spherical"][:3] == ["0", "–", "–"]


def test_the_confusion_matrix_sums_to_the_crystals(metrics: dict[str, Any]) -> None:
    _, *rows = confusion_table(metrics)
    assert sum(int(cell) for _, *cells in rows for cell in cells) == 40


def test_visibility_has_one_row_per_bin_and_none_if_unknown(
    metrics: dict[str, Any],
) -> None:
    assert visibility_table(metrics) == []
    bins = [{**metrics, "visible": ends} for ends in ([0.0, 0.25], [0.25, 1.0])]
    _, *rows = visibility_table({**metrics, "by_visibility": bins})
    assert [row[:2] for row in rows] == [["0–25 %", "40"], ["25–100 %", "40"]]
    assert visible_range([0.125, 0.5]) == "12–50 %"


def test_the_text_says_what_was_evaluated_and_how(metrics: dict[str, Any]) -> None:
    text = as_text(metrics)
    assert text.startswith("nsr@1 on crops\n")
    assert text.endswith(basis(metrics))
    assert all(shape in text for shape in SHAPES)
    assert heading({"data": "crops"}) == "Predictions on crops"
    matched = {"n_matched": 8, "n_true": 10, "recall": 0.8, "mean_iou": 0.91}
    sentence = basis({**metrics, "segmenter": "compact@1", "matched": matched})
    assert sentence.startswith("compact@1 found 8 of 10 true crystals (80.0 %)")
    assert sentence.endswith(basis(metrics))
