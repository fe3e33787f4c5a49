"""Figures as pixels and words, for tests of plots."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np
from matplotlib.colors import to_rgb


def drawn(figure) -> np.ndarray:
    """The picture (H, W, 3), 0 to 1."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    file.seek(0)
    return matplotlib.image.imread(file)[..., :3]


def near(picture: np.ndarray, colour: str) -> np.ndarray:
    """Mask (H, W) of the pixels that have about this colour."""
    return np.abs(picture - to_rgb(colour)).max(axis=-1) < 0.08


def texts(figure) -> str:
    """The text inside a figure's axes."""
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
