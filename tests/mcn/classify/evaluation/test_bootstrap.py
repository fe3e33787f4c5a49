"""Intervals agree with those of a plain bootstrap."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from mcn.classify.evaluation.bootstrap import MIN_GROUPS, bootstrap_intervals
from mcn.classify.evaluation.metrics import weighted_metrics


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
    groups = np.repeat(np.arange(2 * MIN_GROUPS), 1000 / (2 * MIN_GROUPS) + 1)[:1000]
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
