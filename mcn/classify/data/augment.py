"""Random changes of crops for training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def augment(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, mirror, stretch, blur and add noise to crops at random, and change their contrast.

    Parameters
    ----------
    crops : (N, 1, H, W) float tensor
        Crystals on black, 0 to 255.
    generator : torch.Generator
        Draws the changes.

    Returns
    -------
    (N, 1, H, W) float tensor
        Crystals on black, 0 to 255.
    """
    return _expose(_move(crops, generator), generator)


def _move(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Apply one of the eight symmetries of a square, and to half the crops a slight affine map."""
    count = len(crops)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    quarter = torch.randint(4, (count,), generator=generator) * (torch.pi / 2)
    mirror = 1.0 - 2.0 * torch.randint(2, (count,), generator=generator)
    slight = torch.rand(count, generator=generator) < 0.5
    angle = quarter + torch.where(slight, uniform(-0.3, 0.3), 0.0)
    grow_x = torch.where(slight, uniform(1.0, 1.3), 1.0) * mirror
    grow_y = torch.where(slight, uniform(1.0, 1.3), 1.0)
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros(count)
    rows = [cosine * grow_x, -sine * grow_y, zero, sine * grow_x, cosine * grow_y, zero]
    maps = torch.stack(rows, dim=1).reshape(count, 2, 3)
    grid = functional.affine_grid(maps, list(crops.shape), align_corners=False)
    return functional.grid_sample(crops, grid, align_corners=False)


def _expose(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Change focus, gamma, gain, offset and noise of the pixels of crystals."""
    shape = (len(crops), 1, 1, 1)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    silhouette = crops > 0.5
    kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
    blurred = functional.conv2d(crops, kernel[None, None], padding=1)
    crops = torch.lerp(crops, blurred, uniform(-0.5, 1.0).clamp(min=0))
    crops = 255 * (crops / 255).clamp(0, 1) ** uniform(0.75, 1.33)
    crops = crops * uniform(0.6, 1.3) + uniform(-20, 30)
    noise = torch.randn(crops.shape, generator=generator)
    crops = crops + noise * uniform(-8, 16).clamp(min=0)
    return torch.where(silhouette, crops.clamp(1, 255), 0.0)
