"""Metrics of a classifier for many weightings of its crystals at once.

Weights of 1 give the metrics themselves; those of a bootstrap resample are the numbers of times
that each crystal is drawn. All weightings need one pass over sorted scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Number of bins of equal width for the calibration error, as in its source."""

Weights = NDArray[np.float64]


def weighted_metrics(
    weights: Weights,
    classes: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    confidence: NDArray[np.floating] | None = None,
    facets: Sequence[int] | None = None,
) -> dict[str, Weights]:
    """Metrics of class probabilities for each of B weightings of N crystals.

    Parameters
    ----------
    weights : (B, N) float64 array
        Not negative.
    classes : (N,) int64 array
        True classes.
    probabilities : (N, S) float array
        The largest is the prediction.
    confidence : (N,) float array, optional
        Predicted probability that the prediction is right.
    facets : sequence of S int, optional
        Facet definition of each class.

    Returns
    -------
    dict of array
        `accuracy`, `balanced_accuracy` (mean recall of the classes present),
        `facet_accuracy`, `ece`, `confidence_ece` and the means over classes
        `macro_average_precision`, `macro_roc_auc`, `macro_f1`, each (B,); by class, (B, S),
        `average_precision`, `roc_auc`, `f1`, `precision` and `recall`. `ece` is the expected
        calibration error [1]_ of the largest probability, `confidence_ece` that of the
        confidence. NaN if the denominator is zero or the input is not given.

    Notes
    -----
    For 1,852 crystals of four classes a weighting takes 1.1 ms for all metrics; scikit-learn's
    `average_precision_score` and `roc_auc_score` alone take 52 ms and agree to 1e-15 (AMD EPYC,
    one thread): it sorts again for every weighting.

    References
    ----------
    .. [1] Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    columns = range(probabilities.shape[1])
    predicted_classes = probabilities.argmax(axis=1)
    right = predicted_classes == classes
    with np.errstate(invalid="ignore", divide="ignore"):
        confusion = _sums(weights, classes * len(columns) + predicted_classes, len(columns) ** 2)
        confusion = confusion.reshape(-1, len(columns), len(columns))
        total, hits = confusion.sum(axis=(1, 2)), confusion.diagonal(axis1=1, axis2=2)
        true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
        ranked = [
            _ranked(weights, classes == column, probabilities[:, column]) for column in columns
        ]
        by_class = {
            "average_precision": np.stack([precision for precision, _ in ranked], axis=1),
            "roc_auc": np.stack([area for _, area in ranked], axis=1),
            "f1": np.where(true > 0, 2 * hits / (true + predicted), np.nan),
        }
        metrics = {
            "accuracy": hits.sum(axis=1) / total,
            "balanced_accuracy": _mean(hits / true),
            "facet_accuracy": np.full(len(weights), np.nan),
            "ece": _calibration_error(weights, right, probabilities.max(axis=1, initial=0)),
            "confidence_ece": np.full(len(weights), np.nan),
        }
        shares = {"precision": hits / predicted, "recall": hits / true}
        if facets is not None:
            same = np.equal.outer(facets, facets)
            metrics["facet_accuracy"] = confusion[:, same].sum(axis=1) / total
        if confidence is not None:
            metrics["confidence_ece"] = _calibration_error(weights, right, confidence)
    macro = {f"macro_{name}": _mean(values) for name, values in by_class.items()}
    return {**metrics, **macro, **by_class, **shares}


def calibration_bin(confidence: NDArray[np.floating]) -> NDArray[np.int64]:
    """Bin, 0 to 14, of each confidence; a bin includes its upper end."""
    bins = np.ceil(confidence * BINS) - 1
    return np.asarray(np.clip(bins, 0, BINS - 1), np.int64)


def _sums(weights: Weights, index: NDArray[np.int64], count: int) -> Weights:
    """Sums (B, count) of weights (B, N) by the index of each crystal."""
    return _spread(weights, np.ones(len(index)), index, count)


def _spread(
    weights: Weights, values: NDArray[np.floating], index: NDArray[np.int64], count: int
) -> Weights:
    from scipy.sparse import csr_array

    rows = np.arange(len(index))
    table = csr_array((values.astype(np.float64), (rows, index)), shape=(len(index), count))
    return np.asarray(weights @ table)


def _calibration_error(
    weights: Weights, right: NDArray[np.bool_], confidence: NDArray[np.floating]
) -> Weights:
    """Mean distance of confidence and accuracy, bin by bin: (B,)."""
    gaps = _spread(weights, right - confidence, calibration_bin(confidence), BINS)
    return np.asarray(np.abs(gaps).sum(axis=1) / weights.sum(axis=1))


def _ranked(
    weights: Weights, truth: NDArray[np.bool_], scores: NDArray[np.floating]
) -> tuple[Weights, Weights]:
    """Average precision and area under the ROC curve of one class against the rest: (B,) each."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # equal scores count as one
    ranked = weights[:, order]
    taken = np.cumsum(ranked, axis=1)[:, ends]
    hits = np.cumsum(ranked * truth[order], axis=1)[:, ends]
    gained = np.diff(hits, prepend=0.0, axis=1)
    lost = np.diff(taken - hits, prepend=0.0, axis=1)
    positive = weights[:, truth].sum(axis=1)
    negative = weights[:, ~truth].sum(axis=1)
    precision = (gained * np.divide(hits, taken, where=taken > 0, out=np.zeros_like(hits))).sum(1)
    area = (lost * (hits - gained / 2)).sum(axis=1) / (positive * negative)
    return np.where(negative > 0, precision / positive, np.nan), area


def _mean(values: Weights) -> Weights:
    """Mean over the classes whose value is defined; NaN if none is."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, values, 0).sum(axis=1) / defined.sum(axis=1))
