"""Metrics of a classifier from its probabilities of a test set, without the crops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcn.classify.evaluation.scores import score_with_intervals
from mcn.classify.modeling.published import CLASS_ORDER
from mcn.errors import McnError

COUNTS = (117, 95, 83, 80)
"""Crystals of each class in the published test set, class 0 to 3."""

_MAX_ROWS = 10_000_000


class PredictionsError(McnError):
    """Predictions that are missing or cannot be evaluated."""


def read_predictions(
    path: Path, counts: Sequence[int] = COUNTS
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """True classes and predicted probabilities of a test set in class order.

    Parameters
    ----------
    path : Path
        `.npy` file, (N, classes) floats: all crystals of class 0 first, then of class 1, …
    counts : sequence of int
        Crystals of each class.

    Returns
    -------
    classes : (N,) int64 array
    probabilities : (N, classes) float32 array

    Raises
    ------
    PredictionsError
        If the file is missing, is not such an array, or has another number of rows or columns.
    """
    try:
        stored = np.lib.format.open_memmap(path, mode="r")  # rejects objects; reads only the header
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise PredictionsError(
            f"{path}: cannot be read as a .npy array ({reason}); save class probabilities "
            "with numpy.save"
        ) from error
    expected_shape = (sum(counts), len(counts))
    if stored.shape != expected_shape or stored.dtype.kind != "f" or len(stored) > _MAX_ROWS:
        raise PredictionsError(
            f"{path}: contains {stored.dtype} {stored.shape}, not the probabilities "
            f"{expected_shape} of {', '.join(map(str, counts))} crystals per class; "
            "give the numbers with --counts"
        )
    probabilities = np.array(stored, dtype=np.float32)
    if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise PredictionsError(
            f"{path}: its rows are not probabilities that sum to 1; save the output of the softmax"
        )
    return np.repeat(np.arange(len(counts)), counts), probabilities


def evaluate_predictions(
    classes: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    class_order: Sequence[str] = CLASS_ORDER,
) -> dict[str, Any]:
    """Metrics as from `evaluate_classifier`, and those that the authors published.

    Parameters
    ----------
    classes, probabilities
        As from `read_predictions`.
    class_order : sequence of str
        Shapes of the classes, first to last. Only the names and `facet_accuracy` depend on
        them.

    Returns
    -------
    dict
        The metrics of `mcn.classify.evaluation.evaluate.score` in the order of the classes, with
        their `intervals`; `loss`, the mean cross-entropy in nats; `top2_accuracy`.

    Raises
    ------
    PredictionsError
        If there is not one name per class.
    """
    from sklearn.metrics import log_loss

    if len(set(class_order)) != probabilities.shape[1]:
        raise PredictionsError(
            f"class order {','.join(class_order)}: name {probabilities.shape[1]} different shapes"
        )
    labels = np.arange(len(class_order))
    top_two = probabilities.argsort(axis=1)[:, -2:]
    groups = np.arange(len(classes))  # the micrographs of the crystals are not known
    return {
        **score_with_intervals(groups, classes, probabilities, class_order),
        "loss": float(log_loss(classes, probabilities, labels=labels)),
        "top2_accuracy": float(np.mean((top_two == classes[:, None]).any(axis=1))),
    }
