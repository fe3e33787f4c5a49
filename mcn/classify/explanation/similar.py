"""Crystals that a classifier sees alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def most_similar(
    embeddings: NDArray[np.float32], index: int, count: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The crystals most similar to one of N, the most similar first.

    Parameters
    ----------
    embeddings : (N, d) float32 array
        As from `CropClassifier.embed`.
    index : int
        The one they are compared with; it is not among the result.
    count : int
        Largest number of crystals.

    Returns
    -------
    indices : (n,) int array
        Rows of `embeddings`.
    similarity : (n,) float64 array
        1 for the same position; exp(-1) = 0.37 at the root mean square distance of two of the N.
    """
    distances = np.square(embeddings - embeddings[index], dtype=np.float64).sum(axis=1)
    # The mean squared distance of two rows is twice their total variance.
    usual = 2 * float(embeddings.var(axis=0, dtype=np.float64).sum())
    others = np.delete(np.arange(len(embeddings)), index)
    nearest = others[np.argsort(distances[others], kind="stable")[:count]]
    return nearest, np.exp(-distances[nearest] / max(usual, np.finfo(np.float64).tiny))
