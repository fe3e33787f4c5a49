"""Non-maximum suppression of the masks of one image, before they are upsampled.

Torchvision's `nms` compares boxes; crystals that overlap diagonally share most of their boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mcn.segment.modeling.number_format import number_format

_ROWS_AT_ONCE = 16


class MaskNMS:
    """Collects the best masks of one image, without duplicates.

    Parameters
    ----------
    max_iou : float
        Of masks with a higher IoU, the best is kept.
    limit : int
        Maximum number of masks kept; up to twice as many wait to be compared.
    """

    def __init__(self, max_iou: float, limit: int) -> None:
        self.max_iou = max_iou
        self.limit = limit
        self.parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, logits: Tensor, iou: Tensor, stability: Tensor) -> None:
        """Add masks: logits (N, h, w), predicted IoU and stability (N,)."""
        self.parts.append((logits, iou, stability))
        if sum(len(part) for _, part, _ in self.parts) > 2 * self.limit:
            self.settle()

    def settle(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, predicted IoU and stability of the masks that are kept, best first."""
        logits, iou, stability = (torch.cat(part) for part in zip(*self.parts, strict=True))
        kept = mask_nms(logits, iou, self.max_iou)[: self.limit]
        self.parts = [(logits[kept], iou[kept], stability[kept])]
        return self.parts[0]


def mask_nms(logits: Tensor, scores: Tensor, max_iou: float) -> Tensor:
    """Greedy non-maximum suppression of masks, not of their boxes.

    Parameters
    ----------
    logits : (N, h, w) tensor
        Positive on the mask.
    scores : (N,) tensor
        The mask with the higher score is kept.
    max_iou : float
        A mask with a higher IoU with a better mask that is kept is dropped.

    Returns
    -------
    (n,) int64 tensor
        Indices of the masks that are kept, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    logits, dtype = logits[order], number_format(logits.device)
    shared = torch.zeros(len(order), len(order), device=logits.device)
    for rows in logits.split(_ROWS_AT_ONCE, dim=1):
        inside = (rows > 0).flatten(1).to(dtype)
        shared += inside @ inside.mT
    area = (logits > 0).sum(dim=(1, 2)).float()
    union = area + area[:, None] - shared
    duplicates = (shared > max_iou * union).triu(diagonal=1)
    is_kept = torch.ones(len(order), dtype=torch.bool, device=logits.device)
    # Whether a mask is kept depends on better masks only: each round decides at least one more.
    while True:
        settled = ~(duplicates & is_kept[:, None]).any(dim=0)
        if settled.equal(is_kept):
            return order[is_kept]
        is_kept = settled
