from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mcn.mask import Mask
from mcn.segment.dataset import list_pairs
from mcn.segment.evaluation.stability import evaluate_stability
from mcn.synthetic.dataset import write_dataset
from tests.fakes import PatchSegmenter


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stability") / "set"
    write_dataset(out, 2, seed=3, height=160, width=192)
    return out


class Unstable:
    """Finds one square, at a place that depends on the size of the picture."""

    name = "unstable@000000000000"

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        return [
            [Mask(image.shape[1] % 7 * 8 + 30, 60, np.ones((20, 20), bool))] for image in images
        ]


def test_a_threshold_hardly_minds_a_crop(folder: Path) -> None:
    metrics = evaluate_stability(PatchSegmenter(), list_pairs(folder))
    assert metrics["n_stability"] > 10
    assert metrics["stability"] > 0.9  # the threshold moves with the mean grey level


def test_crystals_that_move_with_the_crop_are_counted(folder: Path) -> None:
    assert evaluate_stability(Unstable(), list_pairs(folder)) == {
        "stability": 0.0,
        "n_stability": 4,
        "seam_stability": None,
        "n_seam_stability": 0,
    }


class Divided(Unstable):
    """Finds a square, and another one too if it divides the picture."""

    def __init__(self, windows: int = 2) -> None:
        self.windows = windows

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        masks = [Mask(100, 60, np.ones((20, 20), bool)), Mask(300, 60, np.ones((20, 20), bool))]
        return [masks[: 2 - self.windows % 2] for _ in images]

    def in_smaller_windows(self) -> "Divided | None":
        return Divided(self.windows - 1) if self.windows > 1 else None


def test_crystals_that_change_with_the_seams_are_counted(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", 1, seed=3, height=160, width=800)
    metrics = evaluate_stability(Divided(), list_pairs(tmp_path / "set"))
    assert metrics["seam_stability"] == pytest.approx(2 / 3)
    assert metrics["n_seam_stability"] == 3
