"""A classifier's metrics as plain numbers, with their intervals.

Nothing here needs torch, so that a server of the catalogue can score what classifiers wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcn.classify.evaluation.bootstrap import bootstrap_intervals
from mcn.classify.evaluation.metrics import weighted_metrics
from mcn.taxonomy import FACET_OF_SHAPE, SHAPES

BY_SHAPE = ("average_precision", "roc_auc", "precision", "recall", "f1")
"""Metrics with one value per shape."""


def score_with_intervals(
    groups: NDArray[np.int64],
    classes: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    shapes: Sequence[str] = SHAPES,
    facet_of: Mapping[str, str] = FACET_OF_SHAPE,
    confidence: NDArray[np.floating] | None = None,
) -> dict[str, Any]:
    """The metrics of `score`, and `intervals`, their bootstrap intervals by the same names.

    Parameters
    ----------
    groups : (N,) int64 array
        Crystals of one micrograph share a number.
    classes, probabilities, shapes, facet_of, confidence
        As in `score`.
    """
    facets = _facets(shapes, facet_of)
    intervals = bootstrap_intervals(groups, classes, probabilities, confidence, facets)
    for name in BY_SHAPE:
        intervals[name] = dict(zip(shapes, intervals[name], strict=True))
    metrics = score(classes, probabilities, shapes, facet_of, confidence)
    return {**metrics, "intervals": intervals}


def score(
    classes: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    shapes: Sequence[str] = SHAPES,
    facet_of: Mapping[str, str] = FACET_OF_SHAPE,
    confidence: NDArray[np.floating] | None = None,
) -> dict[str, Any]:
    """Metrics of class probabilities against the truth.

    Parameters
    ----------
    classes : (N,) int array
        True classes, indices into `shapes`.
    probabilities : (N, len(shapes)) float array
        Predicted probabilities; the largest is the prediction.
    shapes : sequence of str
        Names of the classes.
    facet_of : mapping of str to str
        Facet definition of each shape.
    confidence : (N,) float array, optional
        Predicted probability that the prediction is right.

    Returns
    -------
    dict
        `n`; `n_by_shape`; `accuracy`; `balanced_accuracy`, the mean recall of the shapes;
        `facet_accuracy`, that of the facet definition of the predicted shape
        (None if `facet_of` lacks a shape); by shape, each against the rest,
        `average_precision`, `roc_auc`, `precision`, `recall` and `f1`, None where it is not
        defined, such as for a shape that no crystal has, and the means
        `macro_average_precision`, `macro_roc_auc`, `macro_f1`; `ece` and `confidence_ece`, the
        expected calibration errors of the largest probability and of the confidence;
        `confusion`, counts by true (rows) and predicted (columns) shape; `shapes`, their order.
        Plain numbers, ready for JSON.
    """
    predicted = probabilities.argmax(axis=1)
    n, count = len(shapes), np.bincount
    inputs = (classes, probabilities, confidence, _facets(shapes, facet_of))
    metrics: dict[str, Any] = {
        name: _plain(values[0], shapes)
        for name, values in weighted_metrics(np.ones((1, len(classes))), *inputs).items()
    }
    return {
        "n": len(classes),
        "n_by_shape": dict(zip(shapes, count(classes, minlength=n).tolist(), strict=True)),
        **metrics,
        "shapes": list(shapes),
        "confusion": count(classes * n + predicted, minlength=n * n).reshape(n, n).tolist(),
    }


def _plain(values: NDArray[np.float64], shapes: Sequence[str]) -> Any:
    """A number, or numbers by shape; None if not defined."""
    if values.ndim:
        return {shape: _plain(value, shapes) for shape, value in zip(shapes, values, strict=True)}
    return float(values) if np.isfinite(values) else None


def _facets(shapes: Sequence[str], facet_of: Mapping[str, str]) -> list[int] | None:
    names = list(facet_of.values())
    known = set(shapes) <= set(facet_of)
    return [names.index(facet_of[shape]) for shape in shapes] if known else None
