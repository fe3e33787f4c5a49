"""Decoded masks before they are compared: what they are, and which are sure enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nonzero


@dataclass(frozen=True)
class GeneratorSettings:
    """What counts as a crystal, and how much is worked on at once.

    Parameters
    ----------
    centre_threshold : float
        Least probability of a proposed centre.
    min_predicted_iou, min_stability : float
        Masks below are dropped.
    stability_offset : float
        Logits the threshold is raised and lowered by to measure stability.
    max_overlap : float
        A mask of which more than this share belongs to better masks is a duplicate.
    min_area_px : int
        Smallest crystal kept, pixels.
    margin : float
        Side of a prompt's window, in longer sides of its proposed box.
    magnify_below : float
        Median longer side, pixels, of the crystals of an image below which it is looked at
        again at twice the size.
    max_prompts : int
        Most prompts a window.
    prompts_per_batch : int
        Prompts decoded at once; with the next, bounds the memory.
    max_duplicate_iou : float
        Of masks that share more than this of their union, a full-size SAM's generator keeps
        the best.
    max_masks : int
        Most masks of one image that it holds; the best stay.
    pixels_per_batch : int
        Pixels encoded at once; an image larger than this goes alone.
    window : int
        Side of the largest image that is encoded whole, pixels; larger ones go in windows.
    """

    centre_threshold: float = 0.15
    min_predicted_iou: float = 0.4
    min_stability: float = 0.2
    stability_offset: float = 1.0
    max_overlap: float = 0.5
    min_area_px: int = 25
    margin: float = 1.5
    magnify_below: float = 28.0
    max_prompts: int = 3000
    prompts_per_batch: int = 32
    max_duplicate_iou: float = 0.7
    max_masks: int = 1024
    pixels_per_batch: int = 2**22
    window: int = 2048


GPU_SETTINGS = GeneratorSettings(prompts_per_batch=1024, pixels_per_batch=2**24)
"""A processor is fastest while a batch fits its cache, a GPU when it is full."""


@dataclass(frozen=True)
class Candidates:
    """N decoded masks before they are compared.

    Parameters
    ----------
    logits : (N, T, T) float tensor
        Mask logits over each window.
    windows : (N, 4) float tensor
        Left, top, right, bottom of the windows, pixels.
    predicted_iou, stability, scores : (N,) float tensors
        The decoder's estimate, the steadiness of the threshold, and the order of precedence.
    image_index : (N,) int64 tensor
        The image each lies in.
    """

    logits: Tensor
    windows: Tensor
    predicted_iou: Tensor
    stability: Tensor
    scores: Tensor
    image_index: Tensor


def filter_by_stability(
    logits: Tensor, iou: Tensor, settings: GeneratorSettings
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keep the masks whose estimated IoU and stability are good enough.

    Parameters
    ----------
    logits : (N, T, T) tensor
        Mask logits.
    iou : (N,) tensor
        Estimated IoU.

    Returns
    -------
    logits, iou, stability : (n, T, T), (n,), (n,) float tensors
        Of the masks kept. Stability is the IoU of the masks at a raised and a lowered threshold.
    index : (n,) int64 tensor
        Which they were.
    """
    logits, quality = logits.float(), iou.float().clamp(0, 1)
    stability = stability_score(logits, settings.stability_offset)
    good = (quality >= settings.min_predicted_iou) & (stability >= settings.min_stability)
    index = nonzero(good)[:, 0]
    return logits[index], quality[index], stability[index], index


def stability_score(logits: Tensor, offset: float) -> Tensor:
    """IoU (N,) of the masks of logits (N, T, T) at thresholds raised and lowered by `offset`."""
    inner = (logits > offset).sum(dim=(1, 2)).float()
    return inner / (logits > -offset).sum(dim=(1, 2)).clamp(min=1)


def by_shape(images: Sequence[NDArray[np.uint8]]) -> dict[tuple[int, ...], list[int]]:
    """Which images (H, W) are of which shape; those without pixels are left out."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(images):
        if image.size:
            alike.setdefault(image.shape, []).append(i)
    return alike


def portions(members: list[int], pixels: int, settings: GeneratorSettings) -> Iterator[list[int]]:
    """Images of so many pixels each, as many at a time as are encoded at once."""
    at_once = max(1, settings.pixels_per_batch // pixels)
    for start in range(0, len(members), at_once):
        yield members[start : start + at_once]
