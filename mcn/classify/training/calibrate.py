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

_MOST = 20_000  # crystals: more do not move a mean


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
        Examples kept from training; they show how often the network is right.
    seed : int
        Of the outliers among the held-out crops.

    Returns
    -------
    CropClassifier
    """
    rng = np.random.default_rng(seed)
    raw = CropClassifier(network, "calibration")
    held_features, held_logits = raw.features_and_logits(held_out.crops)
    temperature = likeliest_temperature(held_logits, held_out.classes)
    evaluator = CropClassifier(network, "calibration", temperature)
    others = outliers(held_out.crops, max(1, round(OUTLIERS * len(held_out))), rng)
    named = evaluator.classify(np.concatenate([held_out.crops, others])).probabilities
    known = named[: len(held_out)].argmax(axis=1) == held_out.classes
    rows = rng.permutation(len(train))[:_MOST]
    confidence_model = fit_confidence(
        raw.features_and_logits(train.crops[rows])[0],
        train.classes[rows],
        named,
        np.concatenate([held_features, raw.features_and_logits(others)[0]]),
        np.concatenate([known, np.zeros(len(others), dtype=bool)]),
    )
    return CropClassifier(network, "calibration", temperature, confidence_model)


def likeliest_temperature(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> float:
    """The temperature that makes the true classes (N,) likeliest, given logits (N, shapes)."""
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
