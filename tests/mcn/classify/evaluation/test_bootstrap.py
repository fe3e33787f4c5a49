"""Weighted metrics match scikit-learn, and intervals match a plain bootstrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    roc_auc_score,
)

from mcn.classify.evaluation.bootstrap import (
    FEWEST_GROUPS,
    bootstrap_intervals,
    calibration_bin,
    weighted_metrics,
)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(2, 60),
    shapes=st.integers(2, 5),
    steps=st.integers(2, 30),
)
def test_weighted_metrics_match_scikit_learn(
    seed: int, count: int, shapes: int, steps: int
) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.integers(shapes, size=count)
    probabilities = rng.integers(0, steps, (count, shapes)) / steps  # many of them tied
    weights = rng.integers(0, 4, (3, count)).astype(float)
    weights[:, 0] += 1
    metrics = weighted_metrics(weights, classes, probabilities)
    named = probabilities.argmax(axis=1)
    for row, drawn in enumerate(weights):
        present = np.unique(classes[drawn > 0])
        assert metrics["accuracy"][row] == pytest.approx(
            accuracy_score(classes, named, sample_weight=drawn)
        )
        repeated = np.repeat(np.arange(count), drawn.astype(int))
        assert metrics["balanced_accuracy"][row] == pytest.approx(
            np.mean([np.mean(named[repeated][classes[repeated] == c] == c) for c in present])
        )
        f1 = f1_score(classes, named, labels=present, average=None, sample_weight=drawn)
        assert metrics["f1"][row, present] == pytest.approx(f1)
        assert metrics["macro_f1"][row] == pytest.approx(f1.mean())
        for shape in range(shapes):
            precision = metrics["average_precision"][row, shape]
            area = metrics["roc_auc"][row, shape]
            if shape not in present or len(present) == 1:
                assert np.isnan([precision, area]).all()
                continue
            truth, scores = classes == shape, probabilities[:, shape]
            assert precision == pytest.approx(
                average_precision_score(truth, scores, sample_weight=drawn)
            )
            assert area == pytest.approx(roc_auc_score(truth, scores, sample_weight=drawn))


def test_weights_of_one_give_the_unweighted_metrics() -> None:
    classes, probabilities = drawn_crystals(400)
    metrics = weighted_metrics(np.ones((1, 400)), classes, probabilities)
    named = probabilities.argmax(axis=1)
    assert metrics["balanced_accuracy"][0] == pytest.approx(balanced_accuracy_score(classes, named))
    assert metrics["macro_f1"][0] == pytest.approx(f1_score(classes, named, average="macro"))


def test_calibration_error_by_hand() -> None:
    # In the bin of 0.6 to 0.667, half of the crystals given 0.65 are right; 0.95 is always right.
    probabilities = np.array([[0.65, 0.35], [0.65, 0.35], [0.95, 0.05], [0.95, 0.05]])
    classes, confidence = np.array([0, 1, 0, 0]), np.array([0.5, 0.5, 1.0, 1.0])
    metrics = weighted_metrics(np.ones((1, 4)), classes, probabilities, confidence)
    assert metrics["ece"][0] == pytest.approx((2 * 0.15 + 2 * 0.05) / 4)
    assert metrics["confidence_ece"][0] == pytest.approx(0)
    doubled = weighted_metrics(np.array([[3.0, 0, 1, 0]]), classes, probabilities, confidence)
    assert doubled["ece"][0] == pytest.approx((3 * 0.35 + 1 * 0.05) / 4)


def test_calibration_bins_include_their_upper_end() -> None:
    assert calibration_bin(np.array([0, 0.01, 1 / 15, 0.07, 14 / 15, 0.95, 1])).tolist() == [
        0, 0, 0, 1, 13, 14, 14,
    ]  # fmt: skip


def test_facets_follow_from_shapes() -> None:
    classes, probabilities = np.array([0, 1, 2]), np.eye(3)[[1, 1, 0]]
    metrics = weighted_metrics(np.ones((1, 3)), classes, probabilities, facets=(0, 0, 1))
    assert metrics["facet_accuracy"][0] == pytest.approx(2 / 3)


def test_intervals_match_a_plain_bootstrap() -> None:
    classes, probabilities = drawn_crystals(300)
    intervals = bootstrap_intervals(np.arange(300), classes, probabilities)
    rng = np.random.default_rng(1)
    values = []
    for _ in range(1000):
        rows = rng.integers(300, size=300)
        values.append(average_precision_score(classes[rows] == 2, probabilities[rows, 2]))
    assert intervals["average_precision"][2] == pytest.approx(
        np.quantile(values, [0.025, 0.975]), abs=0.01
    )
    assert intervals["of"] == "crystals"
    assert intervals["units"] == 300


def test_crystals_of_a_micrograph_are_resampled_together() -> None:
    classes = np.zeros(1000, np.int64)
    groups = np.repeat(np.arange(2 * FEWEST_GROUPS), 1000 / (2 * FEWEST_GROUPS) + 1)[:1000]
    probabilities = np.where(groups[:, None] % 2, (0.9, 0.1), (0.1, 0.9))
    alike = bootstrap_intervals(groups, classes, probabilities)
    ungrouped = bootstrap_intervals(np.arange(1000), classes, probabilities)
    few = bootstrap_intervals(groups // 4, classes, probabilities)
    assert alike["of"] == "micrographs"
    assert few["of"] == "crystals"
    assert width(alike["accuracy"]) > 4 * width(ungrouped["accuracy"])
    assert few["accuracy"] == ungrouped["accuracy"]


def test_undefined_metrics_have_no_interval() -> None:
    classes, probabilities = np.zeros(5, np.int64), np.full((5, 2), 0.5)
    intervals = bootstrap_intervals(np.arange(5), classes, probabilities)
    assert intervals["average_precision"] == [None, None]
    assert intervals["confidence_ece"] is None
    assert intervals["accuracy"] == [1.0, 1.0]


def test_the_interval_of_a_small_calibration_error_includes_it() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 800)
    classes = (rng.uniform(size=800) > sure).astype(np.int64)
    probabilities = np.stack([sure, 1 - sure], axis=1)
    error = weighted_metrics(np.ones((1, 800)), classes, probabilities)["ece"][0]
    low, high = bootstrap_intervals(np.arange(800), classes, probabilities)["ece"]
    assert low < error < high < 0.08


def drawn_crystals(count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    classes = rng.integers(4, size=count)
    probabilities = rng.dirichlet(np.ones(4), count) + 0.3 * np.eye(4)[classes]
    return classes, probabilities / probabilities.sum(axis=1, keepdims=True)


def width(interval: list[float]) -> float:
    return interval[1] - interval[0]
