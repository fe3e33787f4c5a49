"""One crystal as found, named and measured in a micrograph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcn.mask import RLE
from mcn.morphology import Measures

CROP_SIZE = 64
"""Side of the picture of a crystal that classifiers are given, pixels."""


@dataclass(frozen=True, eq=False)
class Classified:
    """What a classifier says of N crystals.

    Parameters
    ----------
    probabilities : (N, shapes) float32 array
        Of each shape of the classifier's taxonomy, if it is one of them; rows sum to 1.
    confidence : (N,) float32 array
        Probability that the likeliest shape is right, 0 to 1. Low as well for what is like
        nothing the classifier was trained on, however clearly it prefers one shape.
    """

    probabilities: NDArray[np.float32]
    confidence: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crystal(Measures):
    """One crystal: its measures, its class and its mask, named as the catalogue's columns.

    Parameters
    ----------
    shape, facet : str
        Of the classifier's taxonomy.
    confidence : float
        Probability that the shape is right, 0 to 1; see `Classified`.
    probabilities : dict of str to float
        Of each shape of the classifier's taxonomy, in its order; they sum to 1. The columns
        `p_<shape>`.
    mask_rle : RLE
        The mask within the whole micrograph.
    predicted_iou, stability : float
        As in `mcn.mask.Mask`.
    """

    shape: str
    facet: str
    confidence: float
    probabilities: dict[str, float]
    mask_rle: RLE
    predicted_iou: float
    stability: float
