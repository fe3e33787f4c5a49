"""Plots show the given numbers."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, roc_auc_score

from mcn.classify.evaluation.plots import (
    MISTAKES,
    confusion_figure,
    embedding_figure,
    mistakes_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    visibility_figure,
)
from mcn.taxonomy import SHAPES

RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 3, 60)  # without the last shape
PROBABILITIES = RNG.dirichlet(np.ones(4), 60)


def legend_of(figure: Figure) -> list[str]:
    return figure.axes[0].get_legend_handles_labels()[1]


def test_the_confusion_is_written_into_its_cells() -> None:
    figure = confusion_figure([[5, 2], [0, 9]], ["round", "square"])
    cells = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert cells == {(0, 0): "5", (1, 0): "2", (0, 1): "0", (1, 1): "9"}
    shades = np.asarray(figure.axes[0].images[0].get_array())
    assert shades == pytest.approx(np.array([[5 / 7, 2 / 7], [0, 1]]))


def test_a_shape_without_crystals_has_an_empty_row() -> None:
    shades = confusion_figure([[0, 0], [1, 3]], ["a", "b"]).axes[0].images[0].get_array()
    assert np.asarray(shades)[0].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("figure_of", "score", "word"),
    [
        (precision_recall_figure, average_precision_score, "AP"),
        (roc_figure, roc_auc_score, "AUC"),
    ],
)
def test_only_present_shapes_have_curves(figure_of: Any, score: Any, word: str) -> None:
    legend = legend_of(figure_of(CLASSES, PROBABILITIES, SHAPES))
    values = [score(place == CLASSES, PROBABILITIES[:, place]) for place in range(3)]
    pairs = zip(SHAPES[:3], values, strict=True)
    assert legend == [f"{shape}: {word} {value:.3f}" for shape, value in pairs]
    assert legend_of(figure_of(np.zeros(60, int), PROBABILITIES, SHAPES)) == []


def test_a_calibrated_classifier_lies_on_the_diagonal() -> None:
    probability = np.repeat([0.25, 0.75], 400)
    is_correct = (
        np.tile([True, False, False, False], 100).tolist() + [True, True, True, False] * 100
    )
    figure = reliability_figure(np.array(is_correct), probability, errors=(0.0, None))
    (line,) = [line for line in figure.axes[0].lines if line.get_label() in legend_of(figure)]
    assert line.get_xydata().ravel().tolist() == pytest.approx([0.25, 0.25, 0.75, 0.75])
    assert legend_of(figure) == ["largest probability: calibration error 0.000"]
    both = reliability_figure(np.array(is_correct), probability, probability)
    assert legend_of(both) == ["largest probability", "confidence"]


def test_bins_of_visibility_without_crystals_have_no_bar() -> None:
    def bin_of(low: float, accuracy: float | None) -> dict[str, Any]:
        ends = None if accuracy is None else (accuracy - 0.1, accuracy + 0.1)
        names = ("accuracy", "facet_accuracy")
        return {
            "visible": [low, low + 0.5],
            "n": 0 if accuracy is None else 12,
            **dict.fromkeys(names, accuracy),
            "intervals": dict.fromkeys(names, ends),
        }

    axes = visibility_figure([bin_of(0.0, None), bin_of(0.5, 0.8)]).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [0.8, 0.8]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["0–50 %\nn = 0", "50–100 %\nn = 12"]


def test_the_most_confident_mistakes_come_first() -> None:
    count = MISTAKES + 10
    crops = np.broadcast_to(np.arange(count)[:, None, None], (count, 64, 64)).astype(np.uint8)
    confidence = np.linspace(0, 1, count)
    classes, predicted = np.zeros(count, int), np.ones(count, int)
    predicted[-1] = 0  # classified correctly
    figure = mistakes_figure(crops, classes, predicted, confidence, SHAPES)
    shown = [int(axes.images[0].get_array()[0, 0]) for axes in figure.axes if axes.images]
    assert shown == list(range(count - 2, count - 2 - MISTAKES, -1))
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words == ["true rhombic", "named polyhedral", f"{confidence[-2]:.2f}"]


def test_every_crystal_is_in_the_embedding_once() -> None:
    features = RNG.normal(size=(12, 8)).astype(np.float32)
    classes = np.array([0, 1, 2] * 4)
    figure = embedding_figure(features, classes, classes != 1, SHAPES)
    points = [dots.get_offsets() for dots in figure.axes[0].collections]
    assert sum(map(len, points)) == 12
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["rhombic (4)", "polyhedral (4)", "amorphous (4)", "misclassified (4)"]
