"""How well a classifier names crystals whose shape is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcn.classify.classifier import Classifier
from mcn.taxonomy import FACET_OF_SHAPE, SHAPES

RECOGNISABLE = 0.5
"""Share of a crystal that has to be seen for its figures to be given apart as well."""


def evaluate_classifier(
    data: Path, classifier: Classifier, *, copies: int = 0, report: Path | None = None
) -> dict[str, Any]:
    """Score a classifier on labelled crystals.

    Parameters
    ----------
    data : Path
        Class folders, a folder with `labels.csv`, or a rendered core; see
        `mcn.classify.labelled.read_examples`.
    classifier : Classifier
        Classifier to be scored.
    copies : int
        With a rendered core: spoilt masks to be judged of each crystal as well, since in
        use masks come from a segmenter.
    report : Path, optional
        Folder for the figures as pictures and JSON; see `mcn.classify.figures.write_report`.

    Returns
    -------
    dict
        `classifier`, its name, and the figures of `score` for all crystals with their true
        masks. `recognisable` holds the same figures for the crystals of which at least
        half can be seen, where the data tell, and `spoilt_masks` those of the copies.

    Raises
    ------
    ExamplesError
        If there is nothing labelled in `data`, or something in it cannot be read.
    """
    from mcn.classify.labelled import read_examples

    examples = read_examples(data, copies=copies)
    probabilities = classifier.classify(examples.crops).probabilities

    def figures_of(rows: NDArray[np.bool_]) -> dict[str, Any]:
        return score(examples.classes[rows], probabilities[rows])

    true, seen = ~examples.spoilt, examples.visible >= RECOGNISABLE
    figures = {"classifier": classifier.name, **figures_of(true)}
    if seen.any() and not seen.all():
        figures["recognisable"] = figures_of(true & seen)
    if examples.spoilt.any():
        figures["spoilt_masks"] = figures_of(examples.spoilt)
    if report is not None:
        from mcn.classify.figures import write_report

        write_report(examples.classes[true], probabilities[true], figures, report)
    return figures


def score(
    classes: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    shapes: Sequence[str] = SHAPES,
) -> dict[str, Any]:
    """Figures of class probabilities against the truth.

    Parameters
    ----------
    classes : (N,) int array
        True classes, places in `shapes`.
    probabilities : (N, len(shapes)) float array
        Predicted probabilities; the largest is the prediction.
    shapes : sequence of str
        Names of the classes.

    Returns
    -------
    dict
        `n`; `n_by_shape`; `accuracy`; `facet_accuracy`, that of the facet definition which
        follows from the predicted shape (None for other classes than ours); `average_precision` and
        `roc_auc`, each shape against the rest, None for a shape that the truth lacks or
        consists of; `confusion`, counts with a row a true and a column a predicted shape,
        in the order `shapes`, which is given too. Plain numbers, ready for JSON.
    """
    from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

    predicted = probabilities.argmax(axis=1)
    counts = np.bincount(classes, minlength=len(shapes))
    judged = (counts > 0) & (counts < len(classes))
    precision: dict[str, float | None] = dict.fromkeys(shapes)
    auc: dict[str, float | None] = dict.fromkeys(shapes)
    for column, shape in enumerate(shapes):
        if judged[column]:
            truth, scores = classes == column, probabilities[:, column]
            precision[shape] = float(average_precision_score(truth, scores))
            auc[shape] = float(roc_auc_score(truth, scores))
    return {
        "n": len(classes),
        "n_by_shape": dict(zip(shapes, counts.tolist(), strict=True)),
        "accuracy": float(np.mean(predicted == classes)) if len(classes) else None,
        "facet_accuracy": _facet_accuracy(classes, predicted, shapes),
        "average_precision": precision,
        "roc_auc": auc,
        "shapes": list(shapes),
        "confusion": confusion_matrix(classes, predicted, labels=range(len(shapes))).tolist(),
    }


def _facet_accuracy(
    classes: NDArray[np.int64], predicted: NDArray[np.int64], shapes: Sequence[str]
) -> float | None:
    if not len(classes) or not set(shapes) <= set(FACET_OF_SHAPE):
        return None
    facets = np.array([FACET_OF_SHAPE[shape] for shape in shapes])
    return float(np.mean(facets[predicted] == facets[classes]))
