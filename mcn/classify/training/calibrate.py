"""Calibrates the probabilities and the confidence of a trained network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcn.classify.classifier import CropClassifier
from mcn.classify.data.dataset import Examples
from mcn.classify.data.outliers import outliers
from mcn.classify.modeling.confidence import fit_confidence
from mcn.classify.modeling.network import MicroCrystalNet

OUTLIERS = 0.05
"""Share of outliers, relative to the held-out crops, when the confidence is fitted."""

_MAX_CRYSTALS = 20_000  # more do not change a mean


def calibrate(
    network: MicroCrystalNet, train: Examples, held_out: Examples, seed: int = 0
) -> CropClassifier:
    """The network with a temperature and a confidence model.

    Parameters
    ----------
    network : MicroCrystalNet
    train : Examples
        Training examples; they give the distribution of the features.
    held_out : Examples
        Examples held out from training; they show how often the network is right.
    seed : int
        Seed of the outliers among the held-out crops.

    Returns
    -------
    CropClassifier
    """
    rng = np.random.default_rng(seed)
    uncalibrated = CropClassifier(network, "calibration")
    held_features, held_logits = uncalibrated.features_and_logits(held_out.crops)
    temperature = likeliest_temperature(held_logits, held_out.classes)
    evaluator = CropClassifier(network, "calibration", temperature)
    outlier_crops = outliers(held_out.crops, max(1, round(OUTLIERS * len(held_out))), rng)
    probabilities = evaluator.classify(
        np.concatenate([held_out.crops, outlier_crops])
    ).probabilities
    is_right = probabilities[: len(held_out)].argmax(axis=1) == held_out.classes
    rows = rng.permutation(len(train))[:_MAX_CRYSTALS]
    confidence_model = fit_confidence(
        uncalibrated.features_and_logits(train.crops[rows])[0],
        train.classes[rows],
        probabilities,
        np.concatenate([held_features, uncalibrated.features_and_logits(outlier_crops)[0]]),
        np.concatenate([is_right, np.zeros(len(outlier_crops), dtype=bool)]),
    )
    return CropClassifier(network, "calibration", temperature, confidence_model)


def likeliest_temperature(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> float:
    """The temperature of maximum likelihood of the classes (N,), given logits (N, shapes)."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    exact, rows = logits.astype(np.float64), np.arange(len(classes))

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = log_softmax(exact / np.exp(log_temperature), axis=1)
        return float(-scaled[rows, classes].mean())

    result = minimize_scalar(
        negative_log_likelihood, bounds=(np.log(0.2), np.log(5.0)), method="bounded"
    )
    return float(np.exp(result.x))
