"""A loaded classifier file gives the same probabilities, or an error that explains the problem."""

import hashlib
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from mcn.classify.classifier import (
    WEIGHTS_FORMAT,
    ClassifierError,
    CropClassifier,
    load_classifier,
    save_classifier,
)
from mcn.classify.data.dataset import render_examples
from mcn.classify.evaluation.scores import score
from mcn.classify.modeling.network import MicroCrystalNet, NetworkSettings
from mcn.crops import CropError
from mcn.taxonomy import CALCITE, SHAPES, Taxonomy

COINS = Taxonomy({"round": "smooth", "square": "edged"})

SMALL = NetworkSettings(stem=4, widths=(8, 8, 8), reduced=(4, 4, 4))


@pytest.fixture
def crops() -> NDArray[np.uint8]:
    crops = np.random.default_rng(0).integers(0, 256, (300, 64, 64), dtype=np.uint8)
    crops[:, :8] = 0
    return crops


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    path = tmp_path / "tiny.safetensors"
    save_classifier(path, MicroCrystalNet(SMALL), temperature=1.7)
    return path


def test_probabilities_are_valid(file: Path, crops: NDArray[np.uint8]) -> None:
    probabilities = load_classifier(str(file)).classify(crops).probabilities
    assert probabilities.shape == (300, len(SHAPES))
    assert probabilities.dtype == np.float32
    assert (probabilities >= 0).all()
    assert probabilities.sum(axis=1) == pytest.approx(1.0, abs=1e-6)


def test_a_file_gives_the_same_results_every_time(file: Path, crops: NDArray[np.uint8]) -> None:
    first = load_classifier(str(file)).classify(crops).probabilities
    again = load_classifier(str(file))
    assert np.array_equal(first, again.classify(crops).probabilities)
    assert np.array_equal(first, again.classify(crops).probabilities)


def test_a_crop_does_not_depend_on_other_crops(file: Path, crops: NDArray[np.uint8]) -> None:
    classifier = load_classifier(str(file))
    batch_result = classifier.classify(crops).probabilities
    order = np.random.default_rng(1).permutation(len(crops))
    shuffled = classifier.classify(crops[order]).probabilities
    single_result = classifier.classify(crops[137:138]).probabilities
    assert shuffled == pytest.approx(batch_result[order], abs=1e-5)
    assert single_result == pytest.approx(batch_result[137:138], abs=1e-5)


def test_no_crops_give_no_rows(file: Path) -> None:
    empty = load_classifier(str(file)).classify(np.zeros((0, 64, 64), np.uint8)).probabilities
    assert empty.shape == (0, len(SHAPES))


def test_the_name_identifies_the_weights(file: Path) -> None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert load_classifier(str(file)).name == f"tiny@{digest[:12]}"


def test_temperature_and_classes_are_kept(tmp_path: Path) -> None:
    settings = NetworkSettings(stem=4, widths=(8, 8, 8), reduced=(4, 4, 4), taxonomy=COINS)
    path = tmp_path / "other.safetensors"
    name = save_classifier(path, MicroCrystalNet(settings), temperature=0.8)
    classifier = load_classifier(str(path))
    assert (classifier.name, classifier.taxonomy, classifier.temperature) == (name, COINS, 0.8)


def test_a_higher_temperature_is_less_confident(crops: NDArray[np.uint8]) -> None:
    torch.manual_seed(3)
    network = MicroCrystalNet(SMALL)
    with torch.no_grad():
        network.shape_head.weight.mul_(20)
    sure = CropClassifier(network, "a", 1.0).classify(crops).probabilities.max(axis=1)
    unsure = CropClassifier(network, "a", 4.0).classify(crops).probabilities.max(axis=1)
    assert (unsure < sure).all()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 32, 32), np.uint8),
        np.zeros((2, 64, 64), np.float32),
        np.zeros((64, 64), np.uint8),
    ],
)
def test_crops_of_the_wrong_type_are_refused(file: Path, wrong: NDArray[np.uint8]) -> None:
    with pytest.raises(CropError, match="uint8"):
        load_classifier(str(file)).classify(wrong)


def test_unknown_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match="unknown classifier 'nsrr'"):
        load_classifier("nsrr")
    with pytest.raises(ClassifierError, match="no such file"):
        load_classifier(str(tmp_path / "gone.safetensors"))


def test_files_without_a_classifier_are_refused(tmp_path: Path, file: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("these are not weights")
    with pytest.raises(ClassifierError, match=r"text\.safetensors: not a safetensors file"):
        load_classifier(str(text))

    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ClassifierError, match="not a safetensors file"):
        load_classifier(str(cut))

    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(3)}, other)
    with pytest.raises(ClassifierError, match="contains other data"):
        load_classifier(str(other))

    weights = load_file(file)
    del weights["shape_head.weight"]
    about = {"network": SMALL.as_dict(), "temperature": 1.0, "notes": ""}
    save_file(weights, other, {WEIGHTS_FORMAT: json.dumps(about)})
    with pytest.raises(ClassifierError, match="do not fit"):
        load_classifier(str(other))
    for wrong in ([], {**SMALL.as_dict(), "facet_of": []}, {**SMALL.as_dict(), "stem": "x"}):
        save_file(load_file(file), other, {WEIGHTS_FORMAT: json.dumps({**about, "network": wrong})})
        with pytest.raises(ClassifierError, match="do not fit"):
            load_classifier(str(other))
    save_file(load_file(file), other, {WEIGHTS_FORMAT: "no json"})
    with pytest.raises(ClassifierError, match="do not fit"):
        load_classifier(str(other))


def test_the_same_weights_have_the_same_name(tmp_path: Path) -> None:
    network = MicroCrystalNet(SMALL)
    names = {save_classifier(tmp_path / "a.safetensors", network, notes="x") for _ in range(5)}
    assert len(names) == 1


def test_the_embedded_weights_load_by_name() -> None:
    classifier = load_classifier()
    embedded = resources.files("mcn") / "weights" / "nsr.safetensors"
    assert classifier.name == f"nsr@{hashlib.sha256(embedded.read_bytes()).hexdigest()[:12]}"
    assert classifier.taxonomy == CALCITE
    assert len(embedded.read_bytes()) < 2_000_000
    assert classifier.network.sparsity > 0.1


def test_the_embedded_weights_classify_new_rendered_crystals() -> None:
    examples = render_examples(6, seed=20_011, copies=1, height=384, width=512)
    visible = examples.take(examples.visible >= 0.5)
    metrics = score(visible.classes, load_classifier().classify(visible.crops).probabilities)
    assert metrics["n"] > 100
    assert metrics["accuracy"] > 0.6
    assert metrics["facet_accuracy"] > 0.75
    assert min(auc for auc in metrics["roc_auc"].values() if auc is not None) > 0.8
