"""Decoded masks before overlaps are suppressed, and their filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, cat, nonzero
from torch import bool as bool_


@dataclass(frozen=True)
class GeneratorSettings:
    """Thresholds for crystals, and batch sizes.

    Parameters
    ----------
    centre_threshold : float
        Minimum probability of a proposed centre.
    sure_centre : float
        Less probable centres are decoded only if no mask of the more probable ones covers them;
        0 decodes all.
    min_predicted_iou, min_stability : float
        Masks below either are dropped.
    min_estimated_iou : float
        Crystals whose calibrated IoU is below this are dropped.
    covering_iou : float
        Minimum predicted IoU of a mask that covers unsure centres.
    stability_offset : float
        By how much the threshold of the logits is raised and lowered to measure stability.
    max_overlap : float
        A mask is a duplicate if more than this share of it belongs to better masks.
    min_area_px : int
        Smallest crystal kept, pixels.
    margin : float
        Side of a prompt's window, as a multiple of the longer side of its proposed box.
    refits : int
        Maximum number of larger windows on which a mask is decoded that its window cuts off.
    magnify_below : float
        An image is segmented again at twice the size if the median longer side of its
        crystals, pixels, is below this.
    max_prompts : int
        Maximum number of prompts per window.
    prompts_per_batch : int
        Prompts decoded at once; bounds the memory, as `pixels_per_batch` does.
    max_duplicate_iou : float
        A full-size SAM's generator keeps only the best of masks with a higher IoU.
    max_masks : int
        Maximum number of masks that it keeps per image, the best ones.
    pixels_per_batch : int
        Pixels encoded at once; an image larger than this goes alone.
    window : int
        Side of the largest image that is encoded in one piece, pixels; larger ones are tiled.
    """

    centre_threshold: float = 0.15
    sure_centre: float = 0.25
    min_predicted_iou: float = 0.4
    min_stability: float = 0.2
    min_estimated_iou: float = 0.25
    covering_iou: float = 0.8
    stability_offset: float = 1.0
    max_overlap: float = 0.5
    min_area_px: int = 25
    margin: float = 1.5
    refits: int = 4
    magnify_below: float = 28.0
    max_prompts: int = 3000
    prompts_per_batch: int = 32
    max_duplicate_iou: float = 0.7
    max_masks: int = 1024
    pixels_per_batch: int = 2**22
    window: int = 2048


GPU_SETTINGS = GeneratorSettings(prompts_per_batch=1024, pixels_per_batch=2**24)
"""A processor is fastest if a batch fits its cache, a GPU if it is fully used."""


@dataclass(frozen=True)
class Candidates:
    """N decoded masks before overlaps are suppressed.

    Parameters
    ----------
    logits : (N, T, T) float tensor
        Mask logits over each window.
    windows : (N, 4) float tensor
        Left, top, right, bottom of the windows, pixels.
    predicted_iou, stability, scores : (N,) float tensors
        The decoder's estimate of the IoU, the stability score, and the score that ranks masks.
    image_index : (N,) int64 tensor
        The image of each.
    """

    logits: Tensor
    windows: Tensor
    predicted_iou: Tensor
    stability: Tensor
    scores: Tensor
    image_index: Tensor


def select(candidates: Candidates, kept: Tensor) -> Candidates:
    """The candidates selected by a boolean or index tensor."""
    return Candidates(*(getattr(candidates, field.name)[kept] for field in fields(Candidates)))


def concatenate(parts: Sequence[Candidates]) -> Candidates:
    """The candidates of one or more parts, in order."""
    names = [field.name for field in fields(Candidates)]
    return Candidates(*(cat([getattr(part, name) for part in parts]) for name in names))


def covered(candidates: Candidates, points: Tensor, image_index: Tensor, min_iou: float) -> Tensor:
    """Whether points lie on a candidate with a predicted IoU of at least `min_iou`.

    Parameters
    ----------
    points : (n, 2) float tensor
        x and y, pixels.
    image_index : (n,) int64 tensor
        The image of each.

    Returns
    -------
    (n,) bool tensor
    """
    good = nonzero(candidates.predicted_iou >= min_iou)[:, 0]
    size = candidates.logits.shape[-1]
    parts = []
    # A few at a time, so that memory does not grow with the number of points.
    for some_points, images in zip(points.split(64), image_index.split(64), strict=True):
        origin = candidates.windows[good, :2]
        cells = (some_points[:, None] - origin) / (candidates.windows[good, 2:] - origin) * size
        inside = ((cells >= 0) & (cells < size)).all(dim=2)
        x, y = cells.clamp(0, size - 1).long().unbind(dim=2)
        inside &= images[:, None] == candidates.image_index[good]
        parts.append((inside & (candidates.logits[good, y, x] > 0)).any(dim=1))
    return cat([*parts, points.new_zeros(0, dtype=bool_)])


def filter_by_stability(
    logits: Tensor, iou: Tensor, settings: GeneratorSettings
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keep the masks whose estimated IoU and stability reach the thresholds.

    Parameters
    ----------
    logits : (N, T, T) tensor
        Mask logits.
    iou : (N,) tensor
        Estimated IoU.

    Returns
    -------
    logits, iou, stability : (n, T, T), (n,), (n,) float tensors
        Of the masks that are kept. Stability is their IoU at a raised and a lowered threshold.
    index : (n,) int64 tensor
        Their indices.
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


def check_image(image: object) -> None:
    """Raise TypeError unless an image is an (H, W) array of uint8."""
    if not isinstance(image, np.ndarray):
        raise TypeError(f"an image must be an (H, W) array of uint8, not {type(image).__name__}")
    if image.ndim != 2 or image.dtype != np.uint8:
        raise TypeError(
            f"an image must be an (H, W) array of uint8, not {image.dtype} {image.shape}; "
            "mcn.micrograph.read_micrograph(path).pixels gives one"
        )


def group_by_shape(images: Sequence[NDArray[np.uint8]]) -> dict[tuple[int, ...], list[int]]:
    """Indices of the images (H, W) of each shape; images without pixels are left out.

    Raises
    ------
    TypeError
        If one is not an (H, W) array of uint8.
    """
    indices: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(images):
        check_image(image)
        if image.size:
            indices.setdefault(image.shape, []).append(i)
    return indices


def split_batches(
    members: list[int], pixels: int, settings: GeneratorSettings
) -> Iterator[list[int]]:
    """Split images of `pixels` pixels each into batches that are encoded at once."""
    at_once = max(1, settings.pixels_per_batch // pixels)
    for start in range(0, len(members), at_once):
        yield members[start : start + at_once]
