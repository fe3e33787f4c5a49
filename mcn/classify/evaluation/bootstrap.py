"""Bootstrap intervals of a classifier's metrics.

A resample weights each crystal by the number of times that it is drawn [1]_.

References
----------
.. [1] Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: percentile
   intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcn.classify.evaluation.metrics import Weights, weighted_metrics

RESAMPLES = 1000
LEVEL = 0.95
MIN_GROUPS = 8
"""Smallest number of micrographs to resample; with fewer, crystals are resampled."""

_BLOCK_SIZE = 2**20  # numbers in a block of weights, to fit a processor's cache


def bootstrap_intervals(
    groups: NDArray[np.int64],
    classes: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    confidence: NDArray[np.floating] | None = None,
    facets: Sequence[int] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """95 % bootstrap intervals of the metrics of `weighted_metrics`.

    Whole micrographs are resampled if there are enough of them, because the crystals of one are
    alike in light, focus and rock.

    Parameters
    ----------
    groups : (N,) int64 array
        Crystals of one micrograph share a number.
    classes, probabilities, confidence, facets
        As in `weighted_metrics`.
    seed : int
        Seed of the resamples.

    Returns
    -------
    dict
        `level`; `resamples`; `of`, what was resampled, "micrographs" or "crystals"; `units`,
        their number; and for each metric [low, high], or a list of these by
        class, None if the metric is not defined. Resampling alone makes bins look worse
        calibrated, so its mean effect is subtracted from both ends of the intervals of
        calibration errors.
    """
    unit_of, of = resampled_units(groups)
    inputs = (classes, probabilities, confidence, facets)
    metrics = weighted_metrics(np.ones((1, len(classes))), *inputs)
    parts = [weighted_metrics(drawn, *inputs) for drawn in resamples(unit_of, seed)]
    intervals: dict[str, Any] = {
        "level": LEVEL,
        "resamples": RESAMPLES,
        "of": of,
        "units": len(np.unique(unit_of)),
    }
    for name, (metric,) in metrics.items():
        values = np.concatenate([part[name] for part in parts])
        if name.endswith("ece") and np.isfinite(metric):
            values = np.maximum(values - max(values.mean() - metric, 0.0), 0.0)
        intervals[name] = percentiles(values, metric)
    return intervals


def resampled_units(groups: NDArray[np.int64]) -> tuple[NDArray[np.intp], str]:
    """What to resample: the unit (N,) of each crystal, and "micrographs" or "crystals"."""
    units, unit_of = np.unique(groups, return_inverse=True)
    if len(units) < MIN_GROUPS:
        return np.arange(len(groups)), "crystals"
    return unit_of, "micrographs" if len(units) < len(groups) else "crystals"


def resamples(unit_of: NDArray[np.intp], seed: int) -> Iterator[Weights]:
    """Number of times that each crystal is drawn, (B, N) at a time."""
    rng = np.random.default_rng(seed)
    units = unit_of.max(initial=-1) + 1
    block = int(np.clip(_BLOCK_SIZE // max(len(unit_of), 1), 1, RESAMPLES))
    for start in range(0, RESAMPLES, block):
        rows = np.arange(min(block, RESAMPLES - start))[:, None]
        drawn = rng.integers(units, size=(len(rows), units)) + rows * units
        counts = np.bincount(drawn.ravel(), minlength=len(rows) * units)
        yield counts.reshape(len(rows), units).astype(np.float64)[:, unit_of]


def percentiles(values: Weights, metric: Weights) -> Any:
    """[low, high] of (R,) values, or a list of these of (R, S); None for undefined metrics."""
    if values.ndim > 1:
        return [percentiles(column, value) for column, value in zip(values.T, metric, strict=True)]
    if not np.isfinite(metric):
        return None
    return np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
