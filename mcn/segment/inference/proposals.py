"""Prompts that the encoder proposes: centres and boxes of crystals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mcn.segment.modeling.image_encoder import PROPOSAL_STRIDE


@dataclass(frozen=True)
class Proposals:
    """N proposed crystals.

    Parameters
    ----------
    points, boxes : (N, 2), (N, 4) float tensors
        Centre x, y; left, top, right, bottom; pixels.
    scores : (N,) float tensor
        Probability of the centre, 0 to 1.
    image_index : (N,) int64 tensor
        The image of each.
    """

    points: Tensor
    boxes: Tensor
    scores: Tensor
    image_index: Tensor


def propose(
    proposal: Tensor, sizes: list[tuple[int, int]], threshold: float, limit: int
) -> Proposals:
    """Crystals at the local maxima of the centre map.

    Parameters
    ----------
    proposal : (B, 6, h, w) tensor
        `Features.proposal`.
    sizes : list of (H, W)
        Height and width of each image without padding; centres outside are left out.
    threshold : float
        Minimum probability of a centre.
    limit : int
        Maximum number of proposals per image: those with the highest scores.
    """
    maps = proposal.float()
    heat = maps[:, 0].sigmoid()
    peaks = (heat == F.max_pool2d(heat, 3, 1, 1)) & (heat >= threshold)
    index, rows, columns = torch.nonzero(peaks, as_tuple=True)
    points = (torch.stack([columns, rows], dim=1) + 0.5) * PROPOSAL_STRIDE
    scores = heat[index, rows, columns]
    edge = torch.tensor([(w, h) for h, w in sizes], device=points.device)[index]
    inside = (points < edge).all(dim=1)
    order = torch.nonzero(inside)[:, 0]
    order = order[scores[order].argsort(descending=True, stable=True)]
    order = torch.cat([order[index[order] == image][:limit] for image in range(len(sizes))])
    boxes = proposed_boxes(maps, index, rows, columns)
    corner = torch.cat([torch.zeros_like(edge), edge], dim=1)
    boxes = boxes.maximum(corner[:, :2].repeat(1, 2)).minimum(corner[:, 2:].repeat(1, 2))
    return choose(Proposals(points, boxes, scores, index), order)


def proposed_boxes(maps: Tensor, index: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Boxes (N, 4), pixels, proposed by cells of the maps (B, 6, h, w)."""
    points = (torch.stack([columns, rows], dim=1) + 0.5) * PROPOSAL_STRIDE
    reach = maps[index, 2:, rows, columns].clamp(-3, 7).exp() * PROPOSAL_STRIDE
    return torch.cat([points - reach[:, :2], points + reach[:, 2:]], dim=1)


def choose(proposals: Proposals, selection: Tensor) -> Proposals:
    """The proposals selected by a boolean or index tensor."""
    return Proposals(
        proposals.points[selection],
        proposals.boxes[selection],
        proposals.scores[selection],
        proposals.image_index[selection],
    )
