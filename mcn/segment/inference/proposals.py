"""Where to prompt: the crystals the encoder proposes, or a regular grid."""

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
        How sure the encoder is of the centre, 0 to 1.
    image_index : (N,) int64 tensor
        The image each lies in.
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
        Each image's height and width without padding; centres outside are left out.
    threshold : float
        Least centre probability.
    limit : int
        Most proposals an image, the surest first.
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
    """Boxes (N, 4) in pixels that cells of maps (B, 6, h, w) propose."""
    points = (torch.stack([columns, rows], dim=1) + 0.5) * PROPOSAL_STRIDE
    reach = maps[index, 2:, rows, columns].clamp(-3, 7).exp() * PROPOSAL_STRIDE
    return torch.cat([points - reach[:, :2], points + reach[:, 2:]], dim=1)


def choose(proposals: Proposals, kept: Tensor) -> Proposals:
    """The proposals of a boolean or index tensor."""
    return Proposals(
        proposals.points[kept],
        proposals.boxes[kept],
        proposals.scores[kept],
        proposals.image_index[kept],
    )
