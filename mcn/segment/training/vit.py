"""Fine-tuning of Meta's Segment Anything: its prompts, its losses, and which layers learn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from mcn.segment.inference.sam_segmenter import SamSegmenter
from mcn.segment.modeling.lora import adapt_attention, merged_state
from mcn.segment.modeling.number_format import full_precision
from mcn.segment.training.averaging import average_weights
from mcn.segment.training.losses import mask_losses, window_truth, wrong_cells

_CLICKS = 3
"""Correction clicks, one after another, in a step with corrections."""
_PROMPTS_AT_ONCE = 8
"""Prompts decoded at once: about 2 GB at Meta's size, which already fills a GPU."""


class VitTask:
    """Training of a full-size Segment Anything.

    Its prompt encoder and mask decoder learn; its image encoder is frozen, or learns through
    adapters of its attention.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        On the device where it is trained.
    lora : int
        Rank of the adapters; 0 for none.
    decay : float
        Decay of the averaged weights.
    """

    def __init__(self, sam: Any, lora: int, decay: float) -> None:
        start = hashlib.sha256(sam.mask_decoder.iou_token.weight.detach().cpu().numpy())
        self.name = f"segment anything {start.hexdigest()[:12]}, lora {lora}"
        self.model: nn.Module = sam.eval()
        self.lora = lora
        sam.image_encoder.requires_grad_(False)
        if lora:
            adapt_attention(sam.image_encoder, lora)
        self.averaged = average_weights(self.model, decay)

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """All parameters that learn, with one peak rate."""
        learning = [p for p in self.model.parameters() if p.requires_grad]
        return [{"params": learning, "lr": rate}]

    def losses(self, batch: dict[str, Tensor], correct: bool) -> tuple[Tensor, dict[str, float]]:
        """The training loss of a batch and its parts: masks and estimated IoU."""
        return losses(self.model, batch, self.lora > 0, _CLICKS if correct else 0)

    def segmenter(self) -> SamSegmenter:
        """A segmenter with the averaged weights."""
        return SamSegmenter(self.averaged.module, "training")

    def resume_state(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors of `model`, or of the averaged one, that a resume file needs: learnt ones."""
        learning = {name for name, p in self.model.named_parameters() if p.requires_grad}
        return {name: p.detach() for name, p in model.named_parameters() if name in learning}

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights as they are written: in Meta's layout, adapters merged."""
        return merged_state(self.averaged.module)


@dataclass(frozen=True)
class FramePrompts:
    """K prompts of one image, in the encoder's frame; they start as all points or all boxes.

    Parameters
    ----------
    points : (K, P, 2) float tensor
        Clicked points x, y.
    labels : (K, P) int64 tensor
        1 on the crystal, 0 off it.
    boxes : (K, 4) float tensor or None
        Boxes.
    logits : (K, 1, T, T) tensor or None
        Logits of a previous mask.
    """

    points: Tensor
    labels: Tensor
    boxes: Tensor | None = None
    logits: Tensor | None = None


def losses(
    sam: Any, batch: dict[str, Tensor], encoder_learns: bool, clicks: int
) -> tuple[Tensor, dict[str, float]]:
    """The training loss of a batch and its parts.

    As Segment Anything was trained (A. Kirillov et al., "Segment Anything", ICCV 2023,
    appendix A): the image is encoded once; a mask is decoded for a point or a box, and the
    mask with the highest predicted IoU is corrected by clicks on its errors, each together
    with the previous logits.

    Parameters
    ----------
    batch : dict of str to tensor
        Fields of `Sample` with a leading batch axis.
    encoder_learns : bool
        Whether gradients flow through the image encoder.
    clicks : int
        Correction clicks.
    """
    frames = frame_images(batch["image"], sam)
    scale = sam.image_encoder.img_size / batch["image"].shape[-1]
    prompt_losses = []
    for i, frame in enumerate(frames):
        with torch.set_grad_enabled(encoder_learns):
            embedding = encode(sam.image_encoder, frame[None], encoder_learns)
        for prompts, chosen in drawn_prompts(batch["points"][i], batch["boxes"][i], scale):
            targets = batch["targets"][i, chosen]
            labels = batch["labels"][i : i + 1]
            mean_losses = round_losses(sam, embedding, prompts, labels, targets, clicks)
            prompt_losses.append(mean_losses * len(chosen))
    mask, iou = torch.stack(prompt_losses).sum(dim=0) / batch["targets"].numel()
    return mask + 2 * iou, {"mask": float(mask.detach()), "iou": float(iou.detach())}


def round_losses(
    sam: Any,
    embedding: Tensor,
    prompts: FramePrompts,
    labels: Tensor,
    targets: Tensor,
    clicks: int,
) -> Tensor:
    """Mask loss and IoU loss (2,), averaged over the first masks and those after each click.

    Parameters
    ----------
    embedding, labels : (1, D, h, w) and (1, S, S) tensors
        Of one image.
    targets : (K,) int tensor
        Label that each prompt should segment; 0 for background.
    """
    n, side, device = len(targets), labels.shape[-1], labels.device
    crop = torch.tensor([[0.0, 0.0, side, side]], device=device).expand(n, 4)
    first = torch.zeros(n, dtype=torch.long, device=device)
    size = 4 * embedding.shape[-1]
    target, valid = window_truth(labels, crop, first, targets, size)
    rounds = []
    for click in range(clicks + 1):
        logits, iou = checkpoint(decode, sam, embedding, prompts, use_reentrant=False)
        rounds.append(torch.stack(mask_losses(logits.float(), iou.float(), target, valid)))
        if click < clicks:
            # A single prompt is ambiguous: masks 1 and up are the alternatives.
            chosen = first if click else 1 + iou.detach()[:, 1:].argmax(dim=1)
            mask = logits.detach().float()[torch.arange(n, device=device), chosen]
            prompts = correct_prompts(prompts, mask, target, sam.image_encoder.img_size)
    return torch.stack(rounds).mean(dim=0)


def frame_images(images: Tensor, sam: Any) -> Tensor:
    """Standardised crops (B, S, S) as the image encoder takes them, (B, 3, F, F).

    Meta's encoder expects grey of 0 to 255. Brightness and contrast are drawn at random, as
    those of micrographs vary.
    """
    n, frame = len(images), sam.image_encoder.img_size
    random = torch.rand(2, n, 1, 1, 1, device=images.device)
    grey = (images[:, None] * (30 + 40 * random[0]) + 90 + 70 * random[1]).clamp(0, 255)
    grey = F.interpolate(grey, (frame, frame), mode="bilinear", antialias=True)
    pixels: Tensor = sam.preprocess(grey.expand(-1, 3, -1, -1))
    return pixels


def encode(encoder: Any, pixels: Tensor, learns: bool) -> Tensor:
    """Embedding (B, D, h, w) of pixels (B, 3, F, F).

    If the encoder learns, each block is computed again for its gradient (gradient
    checkpointing): the attention maps of all blocks together do not fit on a GPU.
    """
    tokens = encoder.patch_embed(pixels) + encoder.pos_embed
    for block in encoder.blocks:
        tokens = checkpoint(block, tokens, use_reentrant=False) if learns else block(tokens)
    embedding: Tensor = encoder.neck(tokens.permute(0, 3, 1, 2))
    return embedding


def drawn_prompts(
    points: Tensor, boxes: Tensor, scale: float
) -> Iterator[tuple[FramePrompts, Tensor]]:
    """A sample's prompts in the encoder's frame, a point or a box each, and their indices.

    Parameters
    ----------
    points, boxes : (K, 1, 2) and (K, 4) float tensors
        Fields of `Sample`; of a prompt that has both, one is drawn.
    scale : float
        Pixels of the frame per pixel of the sample.
    """
    either = torch.rand(len(points), device=points.device) < 0.5
    as_point = boxes[:, 0].isnan() | (either & ~points[:, 0, 0].isnan())
    for chosen in as_point.nonzero()[:, 0].split(_PROMPTS_AT_ONCE):
        if len(chosen):
            clicks = points[chosen] * scale
            yield FramePrompts(clicks, torch.ones_like(clicks[..., 0]).long()), chosen
    for chosen in (~as_point).nonzero()[:, 0].split(_PROMPTS_AT_ONCE):
        if len(chosen):
            no_points = boxes.new_zeros(len(chosen), 0, 2)
            yield FramePrompts(no_points, no_points[..., 0].long(), boxes[chosen] * scale), chosen


def decode(sam: Any, embedding: Tensor, prompts: FramePrompts) -> tuple[Tensor, Tensor]:
    """Decode prompts of one image.

    Returns
    -------
    logits : (K, M, T, T) tensor
        Mask logits over the frame; mask 0 is the single mask, the others are for ambiguous
        prompts.
    iou : (K, M) tensor
        Predicted intersection over union.
    """
    # The sine of a large argument is meaningless in half precision.
    with full_precision(embedding.device):
        clicked = (prompts.points, prompts.labels) if prompts.points.shape[1] else None
        sparse, dense = sam.prompt_encoder(clicked, prompts.boxes, prompts.logits)
        image_pe = sam.prompt_encoder.get_dense_pe()
    logits, iou = sam.mask_decoder.predict_masks(embedding, image_pe, sparse, dense)
    return logits, iou


def correct_prompts(
    prompts: FramePrompts, mask: Tensor, target: Tensor, frame: int
) -> FramePrompts:
    """Each prompt with its mask and one click on a wrong cell of that mask.

    Parameters
    ----------
    mask, target : (K, T, T) tensors
        Mask logits, and the true mask.
    frame : int
        Side of the encoder's frame, pixels.
    """
    cells, signs = wrong_cells(mask, target)
    clicks = (cells + 0.5) * (frame / mask.shape[-1])
    return replace(
        prompts,
        points=torch.cat([prompts.points, clicks[:, None]], dim=1),
        labels=torch.cat([prompts.labels, signs], dim=1),
        logits=mask[:, None].clamp(-32, 32),
    )
