"""Simple drawn crystals that are easy to distinguish."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mcn.synthetic.core import CoreSettings, render_core
from mcn.taxonomy import SHAPES


def draw(shape: str, rng: np.random.Generator, size: int = 64) -> NDArray[np.uint8]:
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j] + rng.normal(0, 0.02, (2, 1, 1))
    radius, angle = np.hypot(x, y), np.arctan2(y, x) + rng.uniform(0, 2 * np.pi)
    outline = {
        "rhombic": 0.55 / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle))),
        "polyhedral": 0.8 / np.cos((angle % (np.pi / 4)) - np.pi / 8),
        "amorphous": 0.6 + 0.2 * np.sin(3 * angle) + 0.1 * np.sin(5 * angle),
        "spherical": np.full_like(x, 0.85),
    }[shape]
    light = {
        "rhombic": 150 + 60 * (np.cos(angle) > 0),
        "polyhedral": 120 + 60 * (np.floor(angle / (np.pi / 4)) % 2),
        "amorphous": 140 + 30 * np.sin(9 * x) * np.sin(9 * y),
        "spherical": 80 + 120 * radius**2,
    }[shape]
    noisy = np.clip(light + rng.normal(0, 8, x.shape), 1, 255)
    return np.where(radius < outline, noisy, 0).astype(np.uint8)


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered core of four small tiles of two wells; tests only read it."""
    out = tmp_path_factory.mktemp("rendered") / "core"
    render_core(out, wells=2, tiles=4, seed=3, settings=CoreSettings(height=192, width=256))
    return out


@pytest.fixture
def draw_folders(tmp_path: Path) -> Callable[..., Path]:
    """Class folders of drawn crystals."""

    def write(each: int, size: int = 64, shapes: tuple[str, ...] = SHAPES, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        root = tmp_path / f"drawn-{each}-{size}-{seed}"
        for shape in shapes:
            (root / shape).mkdir(parents=True)
            for number in range(each):
                Image.fromarray(draw(shape, rng, size)).save(root / shape / f"{number:03d}.png")
        return root

    return write
