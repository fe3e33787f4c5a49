"""Weighted metrics agree with scikit-learn's."""

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

from mcn.classify.evaluation.metrics import calibration_bin, weighted_metrics


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(2, 60),
    shapes=st.integers(2, 5),
    steps=st.integers(2, 30),
)
def test_weighted_figures_are_those_of_scikit_learn(
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
        there = np.unique(classes[drawn > 0])
        assert metrics["accuracy"][row] == pytest.approx(
            accuracy_score(classes, named, sample_weight=drawn)
        )
        repeated = np.repeat(np.arange(count), drawn.astype(int))
        assert metrics["balanced_accuracy"][row] == pytest.approx(
            np.mean([np.mean(named[repeated][classes[repeated] == c] == c) for c in there])
        )
        f1 = f1_score(classes, named, labels=there, average=None, sample_weight=drawn)
        assert metrics["f1"][row, there] == pytest.approx(f1)
        assert metrics["macro_f1"][row] == pytest.approx(f1.mean())
        for shape in range(shapes):
            precision = metrics["average_precision"][row, shape]
            area = metrics["roc_auc"][row, shape]
            if shape not in there or len(there) == 1:
                assert np.isnan([precision, area]).all()
                continue
            truth, scores = classes == shape, probabilities[:, shape]
            assert precision == pytest.approx(
                average_precision_score(truth, scores, sample_weight=drawn)
            )
            assert area == pytest.approx(roc_auc_score(truth, scores, sample_weight=drawn))


def test_weights_of_one_give_the_plain_figures() -> None:
    classes, probabilities = drawn_crystals(400)
    metrics = weighted_metrics(np.ones((1, 400)), classes, probabilities)
    named = probabilities.argmax(axis=1)
    assert metrics["balanced_accuracy"][0] == pytest.approx(balanced_accuracy_score(classes, named))
    assert metrics["macro_f1"][0] == pytest.approx(f1_score(classes, named, average="macro"))


def test_calibration_error_by_hand() -> None:
    # In the bin of 0.6 to 0.667 half is right of what was given 0.65; 0.95 is right for sure.
    probabilities = np.array([[0.65, 0.35], [0.65, 0.35], [0.95, 0.05], [0.95, 0.05]])
    classes, confidence = np.array([0, 1, 0, 0]), np.array([0.5, 0.5, 1.0, 1.0])
    metrics = weighted_metrics(np.ones((1, 4)), classes, probabilities, confidence)
    assert metrics["ece"][0] == pytest.approx((2 * 0.15 + 2 * 0.05) / 4)
    assert metrics["confidence_ece"][0] == pytest.approx(0)
    doubled = weighted_metrics(np.array([[3.0, 0, 1, 0]]), classes, probabilities, confidence)
    assert doubled["ece"][0] == pytest.approx((3 * 0.35 + 1 * 0.05) / 4)


def test_calibration_bins_hold_their_upper_end() -> None:
    assert calibration_bin(np.array([0, 0.01, 1 / 15, 0.07, 14 / 15, 0.95, 1])).tolist() == [
        0, 0, 0, 1, 13, 14, 14,
    ]  # fmt: skip


def test_facets_follow_from_shapes() -> None:
    classes, probabilities = np.array([0, 1, 2]), np.eye(3)[[1, 1, 0]]
    metrics = weighted_metrics(np.ones((1, 3)), classes, probabilities, facets=(0, 0, 1))
    assert metrics["facet_accuracy"][0] == pytest.approx(2 / 3)


def drawn_crystals(count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    classes = rng.integers(4, size=count)
    probabilities = rng.dirichlet(np.ones(4), count) + 0.3 * np.eye(4)[classes]
    return classes, probabilities / probabilities.sum(axis=1, keepdims=True)
