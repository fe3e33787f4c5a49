"""The figures are the ones scikit-learn and pencil and paper give."""

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score

from mcn.classify.evaluate import score
from mcn.taxonomy import SHAPES


def test_four_crystals_by_hand() -> None:
    classes = np.array([0, 0, 2, 3])
    probabilities = np.array(
        [[0.7, 0.1, 0.1, 0.1], [0.2, 0.3, 0.4, 0.1], [0.1, 0.2, 0.6, 0.1], [0.3, 0.1, 0.4, 0.2]]
    )
    figures = score(classes, probabilities)
    assert figures["n"] == 4
    assert figures["n_by_shape"] == {"rhombic": 2, "polyhedral": 0, "amorphous": 1, "spherical": 1}
    assert figures["accuracy"] == 0.5
    assert figures["confusion"] == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    # Ranked by p_rhombic: true, false, true, false.
    assert figures["average_precision"]["rhombic"] == pytest.approx((1 + 2 / 3) / 2)
    assert figures["roc_auc"]["rhombic"] == pytest.approx(0.75)
    assert figures["average_precision"]["polyhedral"] is None
    assert figures["roc_auc"]["polyhedral"] is None
    # The second crystal is taken for amorphous, so its facets are wrong too.
    assert figures["facet_accuracy"] == 0.75


def test_many_crystals_as_scikit_learn_has_it() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 500)
    probabilities = rng.dirichlet(np.ones(4), 500) + 0.3 * np.eye(4)[classes]
    figures = score(classes, probabilities)
    assert figures["accuracy"] == accuracy_score(classes, probabilities.argmax(axis=1))
    for column, shape in enumerate(SHAPES):
        truth, scores = classes == column, probabilities[:, column]
        assert figures["average_precision"][shape] == average_precision_score(truth, scores)
        assert figures["roc_auc"][shape] == roc_auc_score(truth, scores)
    assert np.sum(figures["confusion"]) == 500


def test_one_class_alone_cannot_be_ranked() -> None:
    figures = score(np.zeros(3, dtype=np.int64), np.tile([0.4, 0.3, 0.2, 0.1], (3, 1)))
    assert figures["accuracy"] == 1.0
    assert set(figures["roc_auc"].values()) == {None}


def test_other_classes_have_no_facet_definition() -> None:
    figures = score(np.array([0, 1]), np.eye(2), shapes=("cubic", "platy"))
    assert figures["facet_accuracy"] is None
    assert figures["average_precision"] == {"cubic": 1.0, "platy": 1.0}


def test_figures_are_ready_for_json() -> None:
    text = json.dumps(score(np.array([0, 1, 2, 3]), np.eye(4)))
    assert json.loads(text)["accuracy"] == 1.0
