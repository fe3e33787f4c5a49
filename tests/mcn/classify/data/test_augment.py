"""Augmented crops differ at random, and still show a crystal on black."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mcn.classify.data.augment import augment
from mcn.taxonomy import SHAPES

Draw = Callable[..., Path]


def test_augmentation_keeps_crystals_on_black(draw_folders: Draw) -> None:
    root = draw_folders(1)
    crops = np.stack([np.asarray(Image.open(root / shape / "000.png")) for shape in SHAPES])
    batch = torch.from_numpy(crops)[:, None].float()
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        other = augment(batch, generator)
        assert other.shape == batch.shape
        assert 0 <= other.min() <= other.max() <= 255
        assert not torch.equal(other, batch)
        areas = (other > 0).sum(dim=(1, 2, 3)) / (batch > 0).sum(dim=(1, 2, 3))
        assert ((areas > 0.4) & (areas < 1.1)).all()


def test_the_same_seed_gives_the_same_changes() -> None:
    crops = torch.zeros(3, 1, 64, 64)
    crops[:, :, 20:40, 10:50] = 150.0
    first, again, other = (
        augment(crops, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_crops_without_a_crystal_stay_black() -> None:
    crops = torch.zeros(4, 1, 64, 64)
    assert torch.equal(augment(crops, torch.Generator().manual_seed(0)), crops)
