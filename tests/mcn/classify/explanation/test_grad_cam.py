"""Heat maps show where the evidence is, whether known by construction or found by occlusion."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mcn.classify.classifier import CropClassifier, load_classifier
from mcn.classify.data.dataset import Examples, render_examples
from mcn.classify.explanation.grad_cam import ExplainError, explain
from mcn.classify.modeling.published import KERAS_FILE, PublishedNetwork, import_weights
from mcn.crops import CropError
from mcn.errors import McnError
from mcn.taxonomy import SHAPES

PUBLISHED = Path(__file__).resolve().parents[5] / "shared" / "data" / "published-mcn" / KERAS_FILE
QUADRANTS = {
    "rhombic": (slice(0, 32), slice(0, 32)),
    "polyhedral": (slice(0, 32), slice(32, 64)),
    "amorphous": (slice(32, 64), slice(0, 32)),
    "spherical": (slice(32, 64), slice(32, 64)),
}


@pytest.fixture(scope="module")
def rendered() -> Examples:
    examples = render_examples(6, seed=90_210, copies=0, height=384, width=512)
    return examples.take(examples.visible >= 0.5)


@pytest.fixture(scope="module")
def crops(rendered: Examples) -> NDArray[np.uint8]:
    return rendered.crops[:70]


@pytest.fixture(scope="module")
def nsr() -> CropClassifier:
    return load_classifier()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> CropClassifier:
    if not PUBLISHED.is_file():
        pytest.skip("../shared, with the published weights, is absent")
    out = tmp_path_factory.mktemp("weights") / "published.safetensors"
    return load_classifier(str(import_weights(PUBLISHED, out)))


@pytest.fixture
def quadrants() -> CropClassifier:
    """A network in which the brightness of a quadrant is the evidence for one shape."""
    network = PublishedNetwork()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for convolution in network.features[::3]:
            convolution.weight[0, 0, 1, 1] = 1
        places = network.hidden.weight.view(256, 8, 8, 16)
        for column, shape in enumerate(network.settings.class_order):
            rows, columns = QUADRANTS[shape]
            rows, columns = (slice(s.start // 8, s.stop // 8) for s in (rows, columns))
            places[column, rows, columns, 0] = 1
            network.head.weight[column, column] = 1
    return CropClassifier(network, "quadrants@000000000000")


@pytest.mark.parametrize("averaged", [False, True])
def test_a_black_crop_has_no_evidence(quadrants: CropClassifier, averaged: bool) -> None:
    maps = explain(quadrants, np.zeros((2, 64, 64), np.uint8), averaged=averaged)
    assert (maps == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_map_shows_the_decisive_quadrant(quadrants: CropClassifier, shape: str) -> None:
    """All quadrants are equally bright, so only the network's weights distinguish them."""
    white = np.full((1, 64, 64), 200, np.uint8)
    (heat,) = explain(quadrants, white, [SHAPES.index(shape)])
    assert heat[QUADRANTS[shape]].sum() > 0.9 * heat.sum()  # the rest is interpolation
    assert heat[QUADRANTS[shape]].max() == pytest.approx(1)


def test_the_most_probable_shape_is_explained(quadrants: CropClassifier) -> None:
    crops = np.full((4, 64, 64), 40, np.uint8)
    for crop, quadrant in zip(crops, QUADRANTS.values(), strict=True):
        crop[quadrant] = 220
    assert quadrants.classify(crops).probabilities.argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert np.array_equal(explain(quadrants, crops), explain(quadrants, crops, np.arange(4)))


def drops(
    classifier: CropClassifier, crops: NDArray[np.uint8], maps: NDArray[np.float32], hottest: bool
) -> NDArray[np.float32]:
    """Drop in the shape's probability for each quarter of the crystal painted mean grey."""
    inside = crops > 0
    ranked = np.where(inside, maps if hottest else -maps, -np.inf).reshape(len(crops), -1)
    rank = (-ranked).argsort(axis=1, kind="stable").argsort(axis=1)
    area = inside.sum(axis=(1, 2))
    hidden = (rank < area[:, None] // 4).reshape(crops.shape)
    mean_grey = (crops.sum(axis=(1, 2)) / area.clip(1)).clip(1).astype(np.uint8)
    before, after = (
        classifier.classify(shown).probabilities
        for shown in (crops, np.where(hidden, mean_grey[:, None, None], crops))
    )
    named = before.argmax(axis=1)
    each = np.arange(len(crops))
    return before[each, named] - after[each, named]


@pytest.mark.parametrize("model", ["nsr", "published"])
def test_hiding_the_hottest_quarter_has_the_largest_effect(
    model: str, rendered: Examples, request: pytest.FixtureRequest
) -> None:
    classifier = request.getfixturevalue(model)
    maps = explain(classifier, rendered.crops)
    hot = drops(classifier, rendered.crops, maps, hottest=True)
    cold = drops(classifier, rendered.crops, maps, hottest=False)
    assert hot.mean() > 2 * cold.mean()
    assert (hot > cold).mean() > 0.7


def test_another_shape_has_its_evidence_elsewhere(
    nsr: CropClassifier, crops: NDArray[np.uint8]
) -> None:
    rhombic, spherical = (
        explain(nsr, crops, np.full(len(crops), SHAPES.index(shape)))
        for shape in ("rhombic", "spherical")
    )
    alike = [
        np.corrcoef(first.ravel(), other.ravel())[0, 1]
        for first, other in zip(rhombic, spherical, strict=True)
        if first.any() and other.any()
    ]
    assert np.mean(alike) < 0.3


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("model", ["nsr", "published"])
def test_maps_are_fractions_and_independent_of_other_crops(
    model: str, averaged: bool, crops: NDArray[np.uint8], request: pytest.FixtureRequest
) -> None:
    classifier = request.getfixturevalue(model)
    maps = explain(classifier, crops, averaged=averaged)
    assert maps.shape == crops.shape
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max() <= 1
    strongest = maps.max(axis=(1, 2))
    assert (np.isclose(strongest, 1) | (strongest == 0)).all()
    single_maps = [
        explain(classifier, crops[i : i + 1], averaged=averaged)[0] for i in (0, 31, 32, 69)
    ]
    assert maps[[0, 31, 32, 69]] == pytest.approx(np.stack(single_maps), abs=1e-3)


def test_the_classifier_is_not_changed(nsr: CropClassifier, crops: NDArray[np.uint8]) -> None:
    before, pickled = nsr.classify(crops).probabilities, pickle.dumps(nsr.network)
    with torch.inference_mode():
        inside = explain(nsr, crops[:5])
    assert np.array_equal(inside, explain(nsr, crops[:5]))
    assert np.array_equal(nsr.classify(crops).probabilities, before)
    assert all(parameter.grad is None for parameter in nsr.network.parameters())
    assert pickle.dumps(nsr.network) == pickled, "hooks are removed"


def test_no_crops_give_no_maps(nsr: CropClassifier) -> None:
    no_crops = np.zeros((0, 64, 64), np.uint8)
    assert explain(nsr, no_crops).shape == (0, 64, 64)
    assert explain(nsr, no_crops, []).shape == (0, 64, 64)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 32, 32), np.uint8),
        np.zeros((2, 64, 64), np.float32),
        np.zeros((64, 64), np.uint8),
    ],
)
def test_crops_of_the_wrong_type_are_refused(nsr: CropClassifier, wrong: NDArray[np.uint8]) -> None:
    with pytest.raises(CropError, match="uint8"):
        explain(nsr, wrong)


@pytest.mark.parametrize("shapes", [[0], [0, 4], [-1, 0], [0.0, 1.0], [[0, 1]], ["a", "b"]])
def test_unknown_shapes_are_refused(nsr: CropClassifier, shapes: list[object]) -> None:
    assert issubclass(ExplainError, McnError)
    with pytest.raises(ExplainError, match=r"2 crops.*0 to 3 \(rhombic"):
        explain(nsr, np.zeros((2, 64, 64), np.uint8), shapes)
