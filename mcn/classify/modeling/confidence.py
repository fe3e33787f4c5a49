"""The confidence of a prediction, also for crops unlike any training data.

A network can be sure of a class far from all its training data. Therefore the confidence
combines the probability with the distance of the crop's features from those of the training
crystals [1]_. The weights of the two are fitted on held-out crystals mixed with outliers, for
which every prediction is wrong.

References
----------
.. [1] Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
   Adversarial Attacks", NeurIPS 2018: Mahalanobis distance to the nearest class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FeatureArray = NDArray[np.float32]

_SHRINK = 1e-3  # of the covariance towards a sphere: features that are switched off do not vary


@dataclass(frozen=True, eq=False)
class ConfidenceModel:
    """Turns probabilities and features into a confidence.

    Parameters
    ----------
    centres : (classes, d) float32 array
        Mean features of the training crystals of each class that has any.
    whitening : (d, d) float32 array
        Matrix that gives features unit variance in every direction within a class.
    weights : (3,) float32 array
        Coefficients of 1, the log odds of the most probable shape and the distance; their sum is
        the log odds that this shape is right.
    """

    centres: FeatureArray
    whitening: FeatureArray
    weights: NDArray[np.float32]

    def confidence(
        self, probabilities: NDArray[np.float32], features: FeatureArray
    ) -> NDArray[np.float32]:
        """Probability that the most probable shape is right.

        Parameters
        ----------
        probabilities : (N, shapes) float32 array
        features : (N, d) float32 array

        Returns
        -------
        (N,) float32 array, 0 to 1
        """
        from scipy.special import expit

        evidence = _evidence(probabilities, self.distance(features))
        return np.asarray(expit(evidence @ self.weights), np.float32)

    def distance(self, features: FeatureArray) -> NDArray[np.float32]:
        """Distance of (N, d) features to the nearest class, in its standard deviations."""
        from scipy.spatial.distance import cdist

        nearest = cdist(features @ self.whitening, self.centres @ self.whitening).min(axis=1)
        return np.asarray(nearest / np.sqrt(self.centres.shape[1]), np.float32)


def fit_confidence(
    features: FeatureArray,
    classes: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    held_out: FeatureArray,
    right: NDArray[np.bool_],
) -> ConfidenceModel:
    """Fit a confidence model.

    Parameters
    ----------
    features, classes : (N, d) float32, (N,) int64 arrays
        Of the training crystals.
    probabilities, held_out : (M, shapes), (M, d) float32 arrays
        Of held-out crystals and of outliers.
    right : (M,) bool array
        Whether the most probable shape is the true one; False for outliers.

    Returns
    -------
    ConfidenceModel
        Its confidence does not decrease as the odds grow, and does not increase as the distance
        grows.
    """
    from scipy.optimize import minimize

    present, class_of = np.unique(classes, return_inverse=True)
    centres = np.stack([features[classes == c].mean(axis=0) for c in present])
    spread = np.cov(features - centres[class_of], rowvar=False, dtype=np.float64)
    spread += np.eye(len(spread)) * max(_SHRINK * np.trace(spread) / len(spread), 1e-12)
    values, vectors = np.linalg.eigh(spread)
    whitening = (vectors / np.sqrt(values)).astype(np.float32)
    confidence_model = ConfidenceModel(
        centres.astype(np.float32), whitening, np.zeros(3, np.float32)
    )
    evidence = _evidence(probabilities, confidence_model.distance(held_out)).astype(np.float64)
    sign = np.where(right, -1.0, 1.0)

    def negative_log_likelihood(weights: NDArray[np.float64]) -> float:
        return float(np.logaddexp(0.0, sign * (evidence @ weights)).mean())

    bounds = [(None, None), (0.0, None), (None, 0.0)]
    result = minimize(negative_log_likelihood, [0.0, 1.0, 0.0], method="L-BFGS-B", bounds=bounds)
    return ConfidenceModel(confidence_model.centres, whitening, result.x.astype(np.float32))


def _evidence(
    probabilities: NDArray[np.float32], distance: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(N, 3): 1, the log odds of the most probable shape, the distance."""
    best = np.clip(probabilities.max(axis=1), 1e-6, 1 - 1e-6)
    return np.stack([np.ones_like(best), np.log(best / (1 - best)), distance], axis=1)
