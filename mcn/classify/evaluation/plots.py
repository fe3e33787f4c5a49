"""Plots of the evaluation of a classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from mcn.classify.evaluation.metrics import BINS, calibration_bin
from mcn.classify.evaluation.tables import visible_range
from mcn.plots import shape_colours

MISTAKES = 24
"""Maximum number of crystals on a sheet of mistakes."""

_INK, _GREY = "#30343b", "#8b949e"
_PROBABILITY, _CONFIDENCE = "#7A4FBF", "#B4532A"  # unlike any shape's colour
_LONGEST = 11  # letters of a shape that fit beside the confidence on the sheet


def confusion_figure(confusion: Sequence[Sequence[int]], shapes: Sequence[str]) -> Figure:
    """Counts of crystals by true (rows) and predicted (columns) shape, shaded by row."""
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(len(shapes) - 4, 0) * 0.5
    figure = Figure(figsize=(5.5 + side, 4.5 + side), dpi=120, layout="constrained")
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

    figure, axes = _square()
    for shape, colour, truth, scores in _each_against_the_rest(classes, probabilities, shapes):
        precision, recall, _ = precision_recall_curve(truth, scores)
        label = f"{shape}: AP {average_precision_score(truth, scores):.3f}"
        axes.step(recall, precision, where="post", color=colour, label=label)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    _legend(axes, "lower left")
    return figure


def roc_figure(
    classes: NDArray[np.int64], probabilities: NDArray[np.floating], shapes: Sequence[str]
) -> Figure:
    """True over false positive rate of each shape against the rest, with its area."""
    from sklearn.metrics import roc_auc_score, roc_curve

    figure, axes = _square()
    for shape, colour, truth, scores in _each_against_the_rest(classes, probabilities, shapes):
        false, true, _ = roc_curve(truth, scores)
        label = f"{shape}: AUC {roc_auc_score(truth, scores):.3f}"
        axes.plot(false, true, color=colour, label=label)
    axes.plot([0, 1], [0, 1], color=_GREY, ls="--", lw=0.8)
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.set(xlim=(-0.02, 1), ylim=(0, 1.02))
    _legend(axes, "lower right")
    return figure


def reliability_figure(
    right: NDArray[np.bool_],
    probability: NDArray[np.floating],
    confidence: NDArray[np.floating] | None = None,
    errors: Sequence[float | None] = (None, None),
) -> Figure:
    """Share of right predictions over their probability and confidence.

    Parameters
    ----------
    right : (N,) bool array
        Whether the most probable shape is the true one.
    probability : (N,) float array
        Probability of the most probable shape.
    confidence : (N,) float array, optional
        The classifier's confidence.
    errors : sequence of 2 floats
        Expected calibration errors of both, for the legend.
    """
    figure = Figure(figsize=(5.5, 5.6), dpi=120, layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=_GREY, ls="--", lw=0.8)
    series = [("largest probability", probability, _PROBABILITY, "o")]
    if confidence is not None:
        series.append(("confidence", confidence, _CONFIDENCE, "s"))
    for (name, values, colour, marker), error in zip(series, errors, strict=False):
        bins = calibration_bin(values)
        counts = np.bincount(bins, minlength=BINS)
        filled = counts > 0
        mean, share = (
            np.bincount(bins, weights, minlength=BINS)[filled] / counts[filled]
            for weights in (values, right)
        )
        label = name if error is None else f"{name}: calibration error {error:.3f}"
        axes.plot(mean, share, color=colour, marker=marker, ms=4.5, lw=1.3, label=label)
        edges = np.linspace(0, 1, BINS + 1)
        below.stairs(counts, edges, color=colour, lw=1.4, fill=False)
    axes.set(ylabel="share predicted rightly", xlim=(0, 1), ylim=(0, 1.02))
    below.set(xlabel="predicted probability", ylabel="crystals")
    below.set_yscale("log")
    below.set_ylim(0.7, 2 * max(len(right), 1))
    _legend(axes, "upper left")
    return figure


def visibility_figure(bins: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy by the visible share of a crystal, with intervals.

    Parameters
    ----------
    bins : sequence of dict
        `by_visibility` of `mcn.classify.evaluation.evaluate.evaluate_classifier`.
    """
    figure, axes = _square()
    for name, colour, shift in (("accuracy", "#3b6ea8", -0.2), ("facet_accuracy", "#a9bfd8", 0.2)):
        positions = [i for i, subset in enumerate(bins) if subset[name] is not None]
        if not positions:
            continue
        values = np.array([bins[i][name] for i in positions])
        ends = np.array([bins[i]["intervals"][name] for i in positions])
        label = "shape" if name == "accuracy" else "facet definition"
        axes.bar(
            np.array(positions) + shift,
            values,
            0.38,
            color=colour,
            label=label,
            # With few crystals, a bootstrap interval need not contain the value itself.
            yerr=np.maximum([values - ends[:, 0], ends[:, 1] - values], 0),
            error_kw={"ecolor": _INK, "capsize": 3, "lw": 1},
        )
    axes.set_xticks(
        range(len(bins)),
        [f"{visible_range(subset['visible'])}\nn = {subset['n']}" for subset in bins],
    )
    axes.set(xlabel="visible share of the crystal", ylabel="accuracy", ylim=(0, 1.02))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return figure


def embedding_figure(
    features: NDArray[np.float32],
    classes: NDArray[np.int64],
    right: NDArray[np.bool_],
    shapes: Sequence[str],
) -> Figure:
    """Crystals arranged by t-SNE, so that similar ones are close together [1]_.

    Parameters
    ----------
    features : (N, d) float32 array
        Features of the crystals in the network; N is at least 3.
    classes : (N,) int64 array
        True classes, indices into `shapes`.
    right : (N,) bool array
        Whether the most probable shape is the true one.
    shapes : sequence of str

    References
    ----------
    .. [1] van der Maaten & Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008.
    """
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features)
    figure = Figure(figsize=(7, 6), dpi=120, layout="constrained")
    axes = figure.subplots()
    handles = []
    for number, (shape, colour) in enumerate(zip(shapes, shape_colours(shapes), strict=True)):
        of_shape = classes == number
        if not of_shape.any():
            continue
        for rows, look in (
            (of_shape & right, {"s": 14, "lw": 0, "alpha": 0.75}),
            (of_shape & ~right, {"s": 24, "lw": 0.9, "edgecolor": "black", "zorder": 3}),
        ):
            axes.scatter(points[rows, 0], points[rows, 1], color=colour, **look)
        label = f"{shape} ({np.count_nonzero(of_shape)})"
        handles.append(Line2D([], [], color=colour, marker="o", ls="", label=label))
    label = f"misclassified ({np.count_nonzero(~right)})"
    handles.append(Line2D([], [], color="white", marker="o", mec="black", ls="", label=label))
    axes.set_xticks([])
    axes.set_yticks([])
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def mistakes_figure(
    crops: NDArray[np.uint8],
    classes: NDArray[np.int64],
    predicted: NDArray[np.int64],
    confidence: NDArray[np.floating],
    shapes: Sequence[str],
) -> Figure:
    """The misclassified crystals with the highest confidence, the highest first.

    Parameters
    ----------
    crops : (N, 64, 64) uint8 array
    classes, predicted : (N,) int64 arrays
        Indices into `shapes`; at least one differs.
    confidence : (N,) float array
    shapes : sequence of str
    """
    wrong = np.flatnonzero(classes != predicted)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    columns = min(6, len(shown))
    rows = -(-len(shown) // columns)
    layout = ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.05)
    figure = Figure(figsize=(1.5 * columns, 2 * rows + 0.2), dpi=110, layout=layout)
    colours = shape_colours(shapes)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, row in zip(grid, shown, strict=False):
        axes.imshow(crops[row], cmap="gray", vmin=0, vmax=255)
        for word, shape, height in (
            ("true", classes[row], 1.15),
            ("named", predicted[row], 1.03),
        ):
            patch = {"facecolor": colours[shape], "alpha": 0.35, "lw": 0, "pad": 1.0}
            text = f"{word} {_short(shapes[shape])}"
            axes.text(0, height, text, transform=axes.transAxes, fontsize=7.5, bbox=patch)
        text = f"{confidence[row]:.2f}"
        axes.text(1, 1.03, text, transform=axes.transAxes, fontsize=7.5, ha="right", color=_INK)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.5, 4.5), dpi=120, layout="constrained")
    return figure, figure.subplots()


def _legend(axes: Axes, place: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, frameon=False)


def _each_against_the_rest(
    classes: NDArray[np.int64], probabilities: NDArray[np.floating], shapes: Sequence[str]
) -> Iterator[tuple[str, Any, NDArray[np.bool_], NDArray[np.floating]]]:
    """The shapes that some but not all crystals have, with their colours."""
    for column, (shape, colour) in enumerate(zip(shapes, shape_colours(shapes), strict=True)):
        truth = classes == column
        if truth.any() and not truth.all():
            yield shape, colour, truth, probabilities[:, column]
