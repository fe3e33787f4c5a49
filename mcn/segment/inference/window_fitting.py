"""Decode masks again that the edge of their window cuts off.

A prompt is decoded on a window about its proposed box. If the box is too small, as for rods, the
mask ends at the window in a straight line. Such a mask is decoded again on a larger window, with
the mask so far and its surest pixel as prompts, until it lies inside: the iterative prompting of
Segment Anything, with a window that grows.

References
----------
A. Kirillov et al., "Segment Anything", ICCV 2023, section 3 (iterative training).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mcn.segment.inference.candidates import Candidates, concatenate, select
from mcn.segment.modeling.compact_sam import PromptBatch
from mcn.segment.modeling.mask_decoder import square_windows

_GROWTH = 0.25
"""Share of the mask's longer side by which its box grows at each edge that cuts it."""
_CUT_CELLS = 4
_STRAIGHT = 0.4
"""Pixels of a mask along an edge of its window that make a cut: this many, and this share of the
mask's height or width."""
_UNKNOWN = 0.0
"""Logit of pixels that the previous window did not show."""

Decode = Callable[[PromptBatch, Tensor], Candidates]
"""Decodes prompts; takes them and the score (N,) of each one's proposal."""


def fit_windows(
    candidates: Candidates, decode: Decode, border: Tensor, margin: float, rounds: int
) -> Candidates:
    """Decode masks that are cut off by their window again, until they lie inside.

    Parameters
    ----------
    candidates : Candidates
        Decoded masks.
    decode : callable
        Decodes prompts on the same images.
    border : (4,) float tensor
        Left, top, right and bottom border of the images, pixels, where a mask may end; infinite
        where the encoded view is a part of a larger image.
    margin : float
        Side of a window, in longer sides of a box.
    rounds : int
        Maximum number of windows per mask.

    Returns
    -------
    Candidates
        Masks that end before their window does, or at the border of the image; others are
        dropped.
    """
    fitting = []
    for _ in range(rounds):
        cut = cut_sides(candidates, border)
        is_cut = cut.any(dim=1)
        fitting.append(select(candidates, ~is_cut))
        candidates = select(candidates, is_cut)
        if not len(candidates.scores):
            return concatenate(fitting)
        boxes = grown_boxes(candidates, cut[is_cut])
        boxes = torch.cat(
            [boxes[:, :2].maximum(border[:2]), boxes[:, 2:].minimum(border[2:])], dim=1
        )
        prompts = mask_prompts(candidates, square_windows(boxes, margin))
        candidates = decode(prompts, _proposal_scores(candidates))
    fitting.append(select(candidates, ~cut_sides(candidates, border).any(dim=1)))
    return concatenate(fitting)


def cut_sides(candidates: Candidates, border: Tensor | None = None) -> Tensor:
    """Whether the left, top, right and bottom edge of its window cuts each of N masks, (N, 4).

    A mask that is cut ends in a straight line at the edge, along a good part of its own height or
    width; fewer pixels are a tip or stray. An edge on the border (4,) of the image, or outside,
    cuts nothing off.
    """
    inside = candidates.logits > 0
    edges = [inside[:, :, 0], inside[:, 0], inside[:, :, -1], inside[:, -1]]
    along = torch.stack([edge.sum(dim=1) for edge in edges], dim=1)
    height, width = (inside.any(dim=dim).sum(dim=1) for dim in (2, 1))
    extent = torch.stack([height, width, height, width], dim=1)
    reached = (along >= _CUT_CELLS) & (along >= _STRAIGHT * extent)
    if border is None:
        return reached
    windows = candidates.windows
    cell = (windows[:, 2:] - windows[:, :2]) / inside.shape[2]
    before = windows[:, :2] > border[:2] + cell
    after = windows[:, 2:] < border[2:] - cell
    return reached & torch.cat([before, after], dim=1)


def extents(candidates: Candidates) -> Tensor:
    """Left, top, right and bottom (N, 4) of masks, pixels; NaN for a mask without pixels."""
    inside = candidates.logits > 0
    size = inside.shape[2]
    columns, rows = inside.any(dim=1), inside.any(dim=2)
    first = torch.stack([hit.int().argmax(dim=1) for hit in (columns, rows)], dim=1)
    last = torch.stack([size - hit.flip(1).int().argmax(dim=1) for hit in (columns, rows)], dim=1)
    origin = candidates.windows[:, :2]
    cell = (candidates.windows[:, 2:] - origin) / size
    boxes = torch.cat([origin + first * cell, origin + last * cell], dim=1)
    return torch.where(columns.any(dim=1, keepdim=True), boxes, torch.nan)


def grown_boxes(candidates: Candidates, cut: Tensor) -> Tensor:
    """Boxes (N, 4) of masks, grown at each edge of the window that cuts them off (N, 4), pixels."""
    boxes = extents(candidates)
    side = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True)
    step = _GROWTH * side * cut
    return torch.cat([boxes[:, :2] - step[:, :2], boxes[:, 2:] + step[:, 2:]], dim=1)


def mask_prompts(candidates: Candidates, windows: Tensor) -> PromptBatch:
    """Prompts for the same crystals on other windows (N, 4): the mask and its surest pixel."""
    return PromptBatch(
        windows=windows,
        image_index=candidates.image_index,
        points=surest_points(candidates)[:, None],
        labels=torch.ones_like(candidates.image_index[:, None]),
        boxes=torch.full_like(windows, torch.nan),
        mask_logits=_resampled(candidates, windows)[:, None],
    )


def _proposal_scores(candidates: Candidates) -> Tensor:
    """Scores (N,) of the proposals that the candidates come from."""
    return (candidates.scores / candidates.predicted_iou.clamp(min=1e-6)) ** 2


def surest_points(candidates: Candidates) -> Tensor:
    """Positions x, y (N, 2) of the pixel with the highest logit of each mask, pixels."""
    size = candidates.logits.shape[2]
    index = candidates.logits.flatten(1).argmax(dim=1)
    cells = torch.stack([index % size, index.div(size, rounding_mode="floor")], dim=1) + 0.5
    origin = candidates.windows[:, :2]
    return origin + cells * (candidates.windows[:, 2:] - origin) / size


def _resampled(candidates: Candidates, windows: Tensor) -> Tensor:
    """Logits (N, T, T) on other windows (N, 4)."""
    size = candidates.logits.shape[2]
    steps = (torch.arange(size, device=windows.device) + 0.5) / size
    old, side = candidates.windows[:, :2], candidates.windows[:, 2:] - candidates.windows[:, :2]
    pixels = windows[:, :2, None] + (windows[:, 2:] - windows[:, :2])[:, :, None] * steps
    x, y = (((pixels - old[:, :, None]) / side[:, :, None]) * 2 - 1).unbind(dim=1)
    shape = (len(x), size, size)
    grid = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], dim=-1)
    logits = candidates.logits.float().clamp(-10, 10)[:, None]
    read = F.grid_sample(logits, grid, padding_mode="border", align_corners=False)[:, 0]
    inside = (grid.abs() <= 1).all(dim=-1)
    return torch.where(inside, read, read.new_tensor(_UNKNOWN))
