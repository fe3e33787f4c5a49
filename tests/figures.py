"""Figures as pixels and text, for tests of plots."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np
from matplotlib.colors import to_rgb


def render(figure) -> np.ndarray:
    """The rendered figure (H, W, 3), 0 to 1."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    file.seek(0)
    return matplotlib.image.imread(file)[..., :3]


def near(picture: np.ndarray, colour: str) -> np.ndarray:
    """Mask (H, W) of the pixels of about this colour."""
    return np.abs(picture - to_rgb(colour)).max(axis=-1) < 0.08


def texts(figure) -> str:
    """The text inside a figure's axes."""
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
