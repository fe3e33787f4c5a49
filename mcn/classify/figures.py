"""Pictures of how a classifier did: confusion, precision and recall, ROC."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcn.plots import SHAPE_COLOURS


def write_report(
    classes: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    figures: dict[str, Any],
    out: Path,
) -> None:
    """Write `figures.json`, `confusion.png`, `precision_recall.png` and `roc.png`.

    Parameters
    ----------
    classes : (N,) int array
        True classes, places in `figures["shapes"]`.
    probabilities : (N, classes) float array
        Predicted probabilities.
    figures : dict
        What `mcn.classify.evaluate.score` made of them, and anything else worth keeping.
    out : Path
        Folder to write to.
    """
    shapes = figures["shapes"]
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.json").write_text(json.dumps(figures, indent=2))
    confusion_figure(figures["confusion"], shapes).savefig(out / "confusion.png")
    precision_recall_figure(classes, probabilities, shapes).savefig(out / "precision_recall.png")
    roc_figure(classes, probabilities, shapes).savefig(out / "roc.png")


def confusion_figure(confusion: Sequence[Sequence[int]], shapes: Sequence[str]) -> Figure:
    """Counts of crystals, a row a true and a column a predicted shape, shaded by row."""
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(5.5, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    names = [f"{number} {shape}" for number, shape in enumerate(shapes)]
    axes.set_xticks(range(len(shapes)), names, rotation=20, ha="right")
    axes.set_yticks(range(len(shapes)), names)
    axes.set(xlabel="predicted", ylabel="true")
    figure.colorbar(picture, ax=axes, label="share of the true shape")
    return figure


def precision_recall_figure(
    classes: NDArray[np.int64], probabilities: NDArray[np.floating], shapes: Sequence[str]
) -> Figure:
    """Precision over recall of each shape against the rest, with its average precision."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure = Figure(figsize=(5.5, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for shape, truth, scores in _each_against_the_rest(classes, probabilities, shapes):
        precision, recall, _ = precision_recall_curve(truth, scores)
        label = f"{shape}: AP {average_precision_score(truth, scores):.3f}"
        axes.step(recall, precision, where="post", color=SHAPE_COLOURS.get(shape), label=label)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="lower left", frameon=False)
    return figure


def roc_figure(
    classes: NDArray[np.int64], probabilities: NDArray[np.floating], shapes: Sequence[str]
) -> Figure:
    """True over false positive rate of each shape against the rest, with its area."""
    from sklearn.metrics import roc_auc_score, roc_curve

    figure = Figure(figsize=(5.5, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for shape, truth, scores in _each_against_the_rest(classes, probabilities, shapes):
        false, true, _ = roc_curve(truth, scores)
        label = f"{shape}: AUC {roc_auc_score(truth, scores):.3f}"
        axes.plot(false, true, color=SHAPE_COLOURS.get(shape), label=label)
    axes.plot([0, 1], [0, 1], color="#8b949e", ls="--", lw=0.8)
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.set(xlim=(-0.02, 1), ylim=(0, 1.02))
    axes.legend(loc="lower right", frameon=False)
    return figure


def _each_against_the_rest(
    classes: NDArray[np.int64], probabilities: NDArray[np.floating], shapes: Sequence[str]
) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.floating]]]:
    """Shapes that the truth neither lacks nor consists of."""
    for column, shape in enumerate(shapes):
        truth = classes == column
        if truth.any() and not truth.all():
            yield shape, truth, probabilities[:, column]
