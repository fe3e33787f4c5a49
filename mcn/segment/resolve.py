"""From overlapping candidates to disjoint masks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label as connected
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mcn.mask import Mask, masks_from_labels
from mcn.segment.candidates import Candidates, GeneratorSettings


def resolve(
    candidates: Candidates, image: int, shape: tuple[int, ...], settings: GeneratorSettings
) -> list[Mask]:
    """Give each pixel to the best mask that claims it and drop duplicates.

    Returns
    -------
    list of Mask
        In one piece each; `predicted_iou` carries the score that ranks them.
    """
    index = torch.nonzero(candidates.image_index == image)[:, 0]
    index = index[candidates.scores[index].argsort(descending=True, stable=True)]
    canvas = np.zeros(shape, np.int32)
    claims = (
        claim
        for part in index.split(settings.prompts_per_batch)
        for claim in _full_size(candidates.logits[part], candidates.windows[part], *shape)
    )
    for rank, (x, y, claim) in enumerate(claims, start=1):
        view = canvas[y : y + claim.shape[0], x : x + claim.shape[1]]
        free = claim & (view == 0)
        area = int(np.count_nonzero(free))
        if area < settings.min_area_px:
            continue
        if area < (1 - settings.max_overlap) * np.count_nonzero(claim):
            continue
        view[free] = rank
    canvas = _one_piece(canvas, settings.min_area_px)
    ranks = np.unique(canvas)
    ranks = ranks[ranks > 0]
    order = index.cpu().numpy()[ranks - 1]
    quality = candidates.scores.cpu().numpy()[order]
    stability = candidates.stability.cpu().numpy()[order]
    masks = [
        Mask(mask.x, mask.y, mask.pixels, float(q), float(s))
        for mask, q, s in zip(masks_from_labels(canvas), quality, stability, strict=True)
    ]
    return sorted(masks, key=lambda mask: (mask.y, mask.x))


def _full_size(
    logits: Tensor, windows: Tensor, height: int, width: int
) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """Each mask at full resolution: left, top and pixels of its window within the image."""
    n = len(logits)
    claims: list[tuple[int, int, NDArray[np.bool_]]] = [(0, 0, np.zeros((0, 0), bool))] * n
    origin = windows[:, :2].floor()
    extent = (windows[:, 2:].ceil() - origin).amax(dim=1)
    bucket = extent.clamp(min=16).log2().ceil().long()
    for power in bucket.unique().tolist():
        members = torch.nonzero(bucket == power)[:, 0]
        size = 2**power
        # Large masks a few at a time: memory follows this, not the number of masks.
        for part in members.split(max(1, 2**22 // size**2)):
            steps = torch.arange(size, device=windows.device) + 0.5
            sides = windows[part, 2:] - windows[part, :2]
            xs = (origin[part, :1] + steps - windows[part, :1]) / sides[:, :1] * 2 - 1
            ys = (origin[part, 1:] + steps - windows[part, 1:2]) / sides[:, 1:] * 2 - 1
            shape = (len(part), size, size)
            grid = torch.stack([xs[:, None].expand(shape), ys[:, :, None].expand(shape)], dim=-1)
            # Beyond its window a mask has no say.
            read = F.grid_sample(logits[part, None].float(), grid, align_corners=False)[:, 0] > 0
            for place, pixels in zip(part.tolist(), read.cpu().numpy(), strict=True):
                x, y = int(origin[place, 0]), int(origin[place, 1])
                left, top = max(x, 0), max(y, 0)
                claims[place] = (left, top, pixels[top - y : height - y, left - x : width - x])
    return claims


def _one_piece(canvas: NDArray[np.int32], min_area: int) -> NDArray[np.int32]:
    """Keep the largest connected piece of each label, and only if large enough."""
    pieces, count = connected(canvas, connectivity=1, return_num=True)
    area = np.bincount(pieces.ravel(), minlength=count + 1)
    owner = np.zeros(count + 1, np.int32)
    owner[pieces.ravel()] = canvas.ravel()
    largest = np.zeros(int(canvas.max(initial=0)) + 1, np.int64)
    np.maximum.at(largest, owner, area)
    keep = (owner > 0) & (area == largest[owner]) & (area >= min_area)
    _, first = np.unique(np.where(keep, owner, -1), return_index=True)
    single = np.zeros(count + 1, bool)
    single[first] = True
    return np.where((keep & single)[pieces], canvas, 0)
