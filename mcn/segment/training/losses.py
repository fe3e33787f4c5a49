"""Losses of the segmenters, and the targets they need."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def window_truth(
    labels: Tensor, windows: Tensor, index: Tensor, targets: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """The true masks, sampled as a decoder's logits are.

    Parameters
    ----------
    labels : (B, H, W) int tensor
        Instance labels.
    windows : (N, 4) float tensor
        Left, top, right, bottom of what each mask covers, pixels; may reach outside the image.
    index, targets : (N,) int64 tensors
        The image of each window, and the label to segment; 0 for background, -1 if unknown.
    size : int
        Logits along a side.

    Returns
    -------
    target, valid : (N, size, size) float tensors
        1 on the crystal; 1 within the image, and nowhere if the target is unknown.
    """
    height, width = labels.shape[1:]
    steps = (torch.arange(size, device=labels.device) + 0.5) / size
    sides = windows[:, 2:] - windows[:, :2]
    x = (windows[:, :1] + sides[:, :1] * steps).floor().long()
    y = (windows[:, 1:2] + sides[:, 1:] * steps).floor().long()
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
    flat = (index[:, None, None] * height + y.clamp(0, height - 1)[:, :, None]) * width + x.clamp(
        0, width - 1
    )[:, None]
    window_labels = labels.reshape(-1)[flat]
    target = (window_labels == targets[:, None, None]) & (targets[:, None, None] > 0) & inside
    return target.float(), (inside & (targets[:, None, None] >= 0)).float()


def mask_losses(
    logits: Tensor, iou: Tensor, target: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """Mask loss and IoU loss of M masks for each of N prompts.

    The mask loss is binary cross entropy, with three times the weight on the border, plus
    dice: of the first mask, and with half the weight of the best of the other masks. The IoU
    loss is the squared error of the estimated IoU.

    Parameters
    ----------
    logits : (N, M, T, T) tensor
        Mask logits.
    iou : (N, M) tensor
        Estimated IoU of each mask.
    target, valid : (N, T, T) tensors
        The true mask, and 1 where it counts.
    """
    weight = valid[:, None]
    truth = target[:, None].expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    border = F.max_pool2d(target, 3, 1, 1) + F.max_pool2d(-target, 3, 1, 1)
    border_weight = weight * (1 + 2 * border[:, None])
    entropy = (entropy * border_weight).sum(dim=(2, 3)) / border_weight.sum(dim=(2, 3)).clamp(min=1)
    probability = logits.sigmoid() * weight
    dice = 1 - (2 * (probability * truth).sum(dim=(2, 3)) + 1) / (
        probability.sum(dim=(2, 3)) + truth.sum(dim=(2, 3)) + 1
    )
    loss = 2 * entropy + dice
    best = loss[:, 1:].min(dim=1).values
    with torch.no_grad():
        predicted = (logits > 0).float() * weight
        common = (predicted * truth).sum(dim=(2, 3))
        actual = common / (predicted.sum(dim=(2, 3)) + truth.sum(dim=(2, 3)) - common).clamp(min=1)
    known = valid.flatten(1).any(dim=1, keepdim=True)
    error = ((iou - actual) ** 2 * known).sum() / known.sum().clamp(min=1)
    return loss[:, 0].mean() + 0.5 * best.mean(), error


def wrong_cells(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """One random wrong cell of each mask.

    Parameters
    ----------
    logits, target : (N, T, T) tensors
        Mask logits, and the true masks.

    Returns
    -------
    cells : (N, 2) int64 tensor
        Column and row.
    signs : (N, 1) int64 tensor
        1 if the cell belongs to the crystal, else 0: the label of a click.
    """
    error = ((logits > 0) != (target > 0)).flatten(1).float()
    pick = torch.multinomial(error + 1e-6, 1)[:, 0]
    row = torch.div(pick, logits.shape[2], rounding_mode="floor")
    column = pick % logits.shape[2]
    return torch.stack([column, row], dim=1), target.flatten(1).gather(1, pick[:, None]).long()


def proposal_losses(
    proposal: Tensor, heat: Tensor, regress: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of the centre and foreground maps, and of the boxes.

    The centre focal loss of CenterNet (X. Zhou et al., "Objects as Points", 2019), and the IoU
    loss of the boxes.

    Parameters
    ----------
    proposal : (B, 6, h, w) tensor
        `Features.proposal`.
    heat, regress : (B, h, w) and (B, 4, h, w) tensors
        `Sample.heat` and `Sample.regress`.
    labels : (B, 4h, 4w) int tensor
        Instance labels; -1 where they are unknown, which has no loss.
    """
    logit = proposal[:, 0]
    positive = heat == 1
    known = F.max_pool2d((labels < 0).float()[:, None], 4)[:, 0] == 0
    p = logit.sigmoid()
    near = (1 - p) ** 2 * F.logsigmoid(logit) * positive
    far = (1 - heat) ** 4 * p**2 * F.logsigmoid(-logit) * ~positive * known
    centre = -(near + far).sum() / positive.sum().clamp(min=1)
    foreground = F.avg_pool2d((labels > 0).float()[:, None], 4)[:, 0]
    covered = F.binary_cross_entropy_with_logits(proposal[:, 1], foreground, reduction="none")
    covered = (covered * known).sum() / known.sum().clamp(min=1)
    trained = ~regress.isnan().any(dim=1)
    predicted = proposal[:, 2:].permute(0, 2, 3, 1)[trained].clamp(-4, 8)
    truth = regress.permute(0, 2, 3, 1)[trained]
    if not len(truth):
        return 0.5 * centre + covered, predicted.sum()
    a, b = predicted.exp(), truth.exp()
    common = torch.minimum(a, b)
    inter = _area(common)
    union = _area(a) + _area(b) - inter
    box = 1 - inter / union + F.smooth_l1_loss(predicted, truth, reduction="none").mean(dim=1)
    return 0.5 * centre + covered, box.mean()


def _area(reach: Tensor) -> Tensor:
    """Areas (n,) of boxes (n, 4) given as distances to the left, top, right and bottom."""
    return (reach[:, 0] + reach[:, 2]) * (reach[:, 1] + reach[:, 3])
