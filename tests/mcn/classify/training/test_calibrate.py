"""Calibration matches probabilities to their accuracy."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from mcn.classify.data.dataset import Examples
from mcn.classify.modeling.network import MicroCrystalNet, NetworkSettings
from mcn.classify.training.calibrate import calibrate, likeliest_temperature


def draw_classes(logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sample a class for each row, with the probabilities of its logits."""
    p = softmax(logits, axis=1)
    return np.array([rng.choice(len(row), p=row / row.sum()) for row in p])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_wrong_temperature_is_corrected(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (6000, 4))
    classes = draw_classes(logits, rng)
    measured = likeliest_temperature((temperature * logits).astype(np.float32), classes)
    assert measured == pytest.approx(temperature, rel=0.1)


def test_the_temperature_is_limited() -> None:
    logits = np.eye(4, dtype=np.float32)
    always_right, always_wrong = np.arange(4), np.roll(np.arange(4), 1)
    assert likeliest_temperature(logits, always_right) == pytest.approx(0.2, rel=1e-3)
    assert likeliest_temperature(logits, always_wrong) == pytest.approx(5.0, rel=1e-3)


def test_calibration_makes_the_held_out_classes_likelier() -> None:
    rng = np.random.default_rng(1)
    crops = rng.integers(1, 255, (60, 64, 64), dtype=np.uint8)
    classes = np.arange(60) % 4
    examples = Examples(crops, classes, np.arange(60), np.ones(60, np.float32), np.zeros(60, bool))
    small = NetworkSettings(stem=4, widths=(8, 8, 8), reduced=(4, 4, 4))
    network = MicroCrystalNet(small).eval()
    classifier = calibrate(network, examples, examples)
    _, logits = classifier.features_and_logits(crops)

    def loss_at(temperature: float) -> float:
        return float(-log_softmax(logits / temperature, axis=1)[np.arange(60), classes].mean())

    assert loss_at(classifier.temperature) <= loss_at(1.0) + 1e-6
    classified = classifier.classify(crops)
    assert ((classified.confidence >= 0) & (classified.confidence <= 1)).all()
    again = calibrate(network, examples, examples)
    assert again.temperature == classifier.temperature
    assert np.array_equal(again.classify(crops).confidence, classified.confidence)
