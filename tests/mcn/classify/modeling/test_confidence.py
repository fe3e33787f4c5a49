"""Confidence is calibrated, and low for crystals unlike the training data."""

import numpy as np
import pytest

from mcn.classify.modeling.confidence import ConfidenceModel, fit_confidence

RNG = np.random.default_rng(3)
CENTRES = np.array([[0, 0, 0, 0], [6, 0, 0, 0], [0, 6, 0, 0]], np.float32)


def crystals(count, rng):
    classes = rng.integers(3, size=count)
    features = CENTRES[classes] + rng.normal(size=(count, 4))
    closeness = -((features[:, None] - CENTRES) ** 2).sum(axis=2) / 2
    p = np.exp(closeness - closeness.max(axis=1, keepdims=True))
    return (
        features.astype(np.float32),
        classes,
        (p / p.sum(axis=1, keepdims=True)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def fitted():
    features, classes, _ = crystals(4000, RNG)
    held, true, p = crystals(2000, RNG)
    far = RNG.uniform(20, 40, (200, 4)).astype(np.float32)
    sure = np.tile(np.float32([0.999, 0.0005, 0.0005]), (200, 1))
    is_correct = np.concatenate([p.argmax(axis=1) == true, np.zeros(200, bool)])
    return fit_confidence(
        features, classes, np.vstack([p, sure]), np.vstack([held, far]), is_correct
    )


def test_distance_counts_standard_deviations(fitted: ConfidenceModel):
    features, _, _ = crystals(1000, np.random.default_rng(8))
    assert np.median(fitted.distance(features)) == pytest.approx(
        0.92, abs=0.1
    )  # median of a scaled chi distribution
    assert fitted.distance(CENTRES) == pytest.approx(np.zeros(3), abs=0.1)


def test_confidence_is_calibrated(fitted: ConfidenceModel):
    features, true, p = crystals(20_000, np.random.default_rng(9))
    confidence, is_correct = fitted.confidence(p, features), p.argmax(axis=1) == true
    assert confidence.mean() == pytest.approx(is_correct.mean(), abs=0.02)
    unsure = confidence < 0.8
    assert confidence[unsure].mean() == pytest.approx(is_correct[unsure].mean(), abs=0.08)


def test_confidence_is_near_zero_far_from_the_training_data(fitted: ConfidenceModel):
    features, _, p = crystals(100, np.random.default_rng(10))
    far = np.full((1, 4), -30, np.float32)
    assert fitted.confidence(np.float32([[1.0, 0.0, 0.0]]), far)[0] < 0.1
    assert np.median(fitted.confidence(p, features)) > 0.9


def test_confidence_never_increases_with_distance(fitted: ConfidenceModel):
    away = np.linspace(0, 50, 200, dtype=np.float32)[:, None] * np.float32([0, 0, 1, 0])
    p = np.tile(np.float32([0.9, 0.05, 0.05]), (200, 1))
    assert (np.diff(fitted.confidence(p, away)) <= 1e-6).all()


def test_constant_features_do_no_harm():
    features = np.zeros((60, 5), np.float32)
    features[:, 0] = np.arange(60) % 2 + RNG.normal(0, 0.1, 60)
    classes = np.arange(60) % 2
    p = np.tile(np.float32([0.8, 0.2]), (60, 1))
    confidence_model = fit_confidence(features, classes, p, features, classes == 0)
    assert np.isfinite(confidence_model.confidence(p, features)).all()


def test_a_shape_without_training_crystals_has_no_centre():
    features, classes, _ = crystals(400, RNG)
    held, true, p = crystals(200, RNG)
    known = classes != 1
    model = fit_confidence(features[known], classes[known], p, held, p.argmax(axis=1) == true)
    assert model.centres.shape == (2, 4)
    assert np.isfinite(model.confidence(p, held)).all()
