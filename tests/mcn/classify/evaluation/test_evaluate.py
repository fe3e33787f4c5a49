"""The metrics match scikit-learn and calculations by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    roc_auc_score,
)

from mcn.classify.classifier import CropClassifier, load_classifier
from mcn.classify.data.dataset import ExamplesError
from mcn.classify.data.readers import read_examples
from mcn.classify.evaluation.evaluate import evaluate_classifier
from mcn.classify.evaluation.scores import score
from mcn.classify.modeling.network import MicroCrystalNet, NetworkSettings
from mcn.synthetic.core import CoreTruth
from mcn.taxonomy import SHAPES, Taxonomy

Draw = Callable[..., Path]


def test_four_crystals_by_hand() -> None:
    classes = np.array([0, 0, 2, 3])
    probabilities = np.array(
        [[0.7, 0.1, 0.1, 0.1], [0.2, 0.3, 0.4, 0.1], [0.1, 0.2, 0.6, 0.1], [0.3, 0.1, 0.4, 0.2]]
    )
    metrics = score(classes, probabilities)
    assert metrics["n"] == 4
    assert metrics["n_by_shape"] == {"rhombic": 2, "polyhedral": 0, "amorphous": 1, "spherical": 1}
    assert metrics["accuracy"] == 0.5
    assert metrics["confusion"] == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    # Ranked by p_rhombic: true, false, true, false.
    assert metrics["average_precision"]["rhombic"] == pytest.approx((1 + 2 / 3) / 2)
    assert metrics["roc_auc"]["rhombic"] == pytest.approx(0.75)
    assert metrics["average_precision"]["polyhedral"] is None
    assert metrics["roc_auc"]["polyhedral"] is None
    # The second crystal is predicted as amorphous, so its facets are wrong too.
    assert metrics["facet_accuracy"] == 0.75


def test_metrics_of_many_crystals_match_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 500)
    probabilities = rng.dirichlet(np.ones(4), 500) + 0.3 * np.eye(4)[classes]
    metrics = score(classes, probabilities)
    assert metrics["accuracy"] == accuracy_score(classes, probabilities.argmax(axis=1))
    for column, shape in enumerate(SHAPES):
        truth, scores = classes == column, probabilities[:, column]
        assert metrics["average_precision"][shape] == pytest.approx(
            average_precision_score(truth, scores)
        )
        assert metrics["roc_auc"][shape] == pytest.approx(roc_auc_score(truth, scores))
    named = probabilities.argmax(axis=1)
    assert list(metrics["f1"].values()) == pytest.approx(f1_score(classes, named, average=None))
    assert metrics["macro_average_precision"] == pytest.approx(
        np.mean(list(metrics["average_precision"].values()))
    )
    assert metrics["confusion"] == confusion_matrix(classes, named).tolist()


def test_a_single_class_cannot_be_ranked() -> None:
    metrics = score(np.zeros(3, dtype=np.int64), np.tile([0.4, 0.3, 0.2, 0.1], (3, 1)))
    assert metrics["accuracy"] == 1.0
    assert set(metrics["roc_auc"].values()) == {None}


def test_other_classes_have_the_given_facet_definitions() -> None:
    classes, probabilities = np.array([0, 1, 2]), np.eye(3)[[0, 0, 1]]
    shapes = ("cubic", "platy", "lump")
    metrics = score(classes, probabilities, shapes)
    assert metrics["facet_accuracy"] is None
    assert metrics["roc_auc"] == {"cubic": 0.75, "platy": 0.25, "lump": 0.5}
    rock = Taxonomy({"cubic": "faceted", "platy": "faceted", "lump": "none"})
    assert score(classes, probabilities, shapes, rock.facet_of)["facet_accuracy"] == 2 / 3


def test_a_shape_missing_from_the_truth_is_not_averaged() -> None:
    metrics = score(np.array([0, 0, 2]), np.eye(4)[[0, 1, 2]])
    assert metrics["f1"] == {
        "rhombic": pytest.approx(2 / 3), "polyhedral": None, "amorphous": 1.0, "spherical": None
    }  # fmt: skip
    assert metrics["balanced_accuracy"] == 0.75
    assert metrics["macro_f1"] == pytest.approx(5 / 6)


def test_no_crystals_give_no_metrics() -> None:
    metrics = score(np.zeros(0, np.int64), np.zeros((0, 4)))
    assert (metrics["n"], metrics["accuracy"], metrics["ece"]) == (0, None, None)


def test_metrics_can_be_written_as_json() -> None:
    text = json.dumps(score(np.array([0, 1, 2, 3]), np.eye(4)))
    assert json.loads(text)["accuracy"] == 1.0


def test_a_core_is_evaluated_by_visible_fraction(small_core: CoreTruth) -> None:
    core = small_core.out
    examples, classifier = read_examples(core), load_classifier()
    metrics = evaluate_classifier(core, classifier)
    assert metrics == evaluate_classifier(core, classifier)
    bins = metrics["by_visibility"]
    assert sum(visibility_bin["n"] for visibility_bin in bins) == metrics["n"] == len(examples)
    first = examples.take(examples.visible < 0.3)
    probabilities = classifier.classify(first.crops).probabilities
    assert bins[0]["visible"] == [0.0, 0.3]
    assert bins[0]["roc_auc"] == score(first.classes, probabilities)["roc_auc"]
    assert metrics["intervals"]["of"] == "micrographs"
    assert metrics["intervals"]["units"] == 9
    low, high = metrics["intervals"]["average_precision"]["amorphous"]
    assert low <= metrics["average_precision"]["amorphous"] <= high


def test_a_classifier_of_other_shapes_is_evaluated_on_its_shapes(
    core: Path, draw_folders: Draw
) -> None:
    places = {"polyhedral": "faceted", "rhombic": "faceted"}
    settings = NetworkSettings(
        stem=4, widths=(8, 8, 8), reduced=(4, 4, 4), taxonomy=Taxonomy(places)
    )
    classifier = CropClassifier(MicroCrystalNet(settings), "tiny@0123456789ab")
    root = draw_folders(4, shapes=("rhombic", "polyhedral"))
    metrics = evaluate_classifier(root, classifier, limit=6)
    assert metrics["shapes"] == ["polyhedral", "rhombic"]
    assert metrics["n"] == 6
    assert metrics["facet_accuracy"] == 1.0
    with pytest.raises(ExamplesError, match="rhombic"):
        evaluate_classifier(core, classifier)


def test_a_limit_selects_the_same_crystals_each_time(draw_folders: Draw) -> None:
    root, classifier = draw_folders(10), load_classifier()
    metrics = evaluate_classifier(root, classifier, limit=25)
    assert metrics["n"] == 25
    assert max(metrics["n_by_shape"].values()) < 25
    assert metrics == evaluate_classifier(root, classifier, limit=25)
    assert evaluate_classifier(root, classifier, limit=1000)["n"] == 40


def test_without_visible_fractions_there_are_no_bins(draw_folders: Draw) -> None:
    metrics = evaluate_classifier(draw_folders(3), load_classifier())
    assert metrics["by_visibility"] == []
    assert "recognisable" not in metrics
