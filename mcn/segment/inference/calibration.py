"""Scores as calibrated estimates of the IoU, whatever the picture.

The score that ranks masks is a product of the network's estimates, which are too high on some
kinds of pictures and too low on others. On pictures that took no part in the training it is
mapped to the IoU that masks of such a score really have.

References
----------
B. Zadrozny and C. Elkan, "Transforming classifier scores into accurate multiclass probability
estimates", KDD 2002 (isotonic regression).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Calibration:
    """A rising, piecewise linear map from scores to estimated IoUs.

    Parameters
    ----------
    scores, ious : tuple of float
        Corners, from the lowest to the highest score, in 0 to 1. Lower and higher scores have
        the IoU of the first and the last.
    """

    scores: tuple[float, ...] = (0.0, 1.0)
    ious: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        scores, ious = np.array(self.scores), np.array(self.ious)
        in_range = all(((part >= 0) & (part <= 1)).all() for part in (scores, ious))
        rising = (np.diff(scores) > 0).all() and (np.diff(ious) >= 0).all()
        if len(scores) < 2 or len(scores) != len(ious) or not in_range or not rising:
            raise ValueError("a calibration needs two or more rising scores and IoUs in 0 to 1")

    def __call__(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Estimated IoUs of scores."""
        return np.interp(np.asarray(scores, np.float64), self.scores, self.ious)

    def to_json(self) -> str:
        """As it is stored with the weights."""
        return json.dumps({"scores": self.scores, "ious": self.ious})

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """The inverse of `to_json`; raises ValueError for anything else."""
        try:
            read = json.loads(text)
            scores, ious = (tuple(map(float, read[name])) for name in ("scores", "ious"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a calibration: {error}") from error
        return cls(scores, ious)


def fit_calibration(scores: ArrayLike, ious: ArrayLike, corners: int = 24) -> Calibration:
    """The calibration of masks with known IoUs, by isotonic regression.

    Parameters
    ----------
    scores, ious : (n,) array_like
        Score of each mask, and its true IoU; 0 for a mask of nothing.
    corners : int
        Maximum number of corners.
    """
    from sklearn.isotonic import IsotonicRegression

    scores = np.asarray(scores, np.float64)
    if len(np.unique(scores)) < 2:
        return Calibration()
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(
        scores, np.asarray(ious, np.float64)
    )
    # Means over as many masks each, since the steps of the regression follow single masks.
    places = np.quantile(scores, np.linspace(0, 1, corners))
    places = np.unique(places.round(4).clip(0, 1))
    if len(places) < 2:
        return Calibration()
    estimates = np.maximum.accumulate(fitted.predict(places)).round(4)
    return Calibration(tuple(places.tolist()), tuple(estimates.tolist()))
