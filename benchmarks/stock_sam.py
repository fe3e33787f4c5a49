"""Adapters to measure `segment_anything.SamAutomaticMaskGenerator` beside ours.

An operator that a CPU build of torch lacks, a ViT-B whose random weights give masks, and the
compact segmenter in the shape of a `segment_anything.modeling.Sam`.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from segment_anything import sam_model_registry
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torchvision import extension  # type: ignore[import-untyped]

from mcn.segment.inference.candidates import GeneratorSettings
from mcn.segment.inference.proposals import Proposals
from mcn.segment.modeling.compact_sam import CompactSam, PromptBatch
from mcn.segment.modeling.image_encoder import Features
from mcn.segment.modeling.mask_decoder import square_windows
from mcn.segment.modeling.number_format import autocast

FRAME = 1024
LOW_RESOLUTION = 1024
_library: torch.library.Library | None = None


def provide_nms() -> None:
    """Provide torchvision's box suppression if its own operators do not load."""
    global _library
    if _library is None and not extension._has_ops():
        _library = torch.library.Library("torchvision", "IMPL", "CPU")
        _library.impl("nms", suppress_boxes)
        extension._has_ops = lambda: True


def suppress_boxes(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """`torchvision.ops.nms`: the boxes (N, 4) that no better one overlaps, best first."""
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    corner = boxes[:, None, :2].maximum(boxes[:, :2])
    shared = (boxes[:, None, 2:].minimum(boxes[:, 2:]) - corner).clamp(min=0).prod(dim=2)
    duplicates = (shared > iou_threshold * (area[:, None] + area - shared)).triu(diagonal=1)
    is_kept = torch.ones(len(order), dtype=torch.bool)
    # Whether a box is kept depends on better boxes only: each round decides at least one more.
    while True:
        settled = ~(duplicates & is_kept[:, None]).any(dim=0)
        if settled.equal(is_kept):
            return order[is_kept]
        is_kept = settled


RANDOM_WEIGHTS = (
    "ViT-B of Meta's architecture, torch seed 0, as constructed, but: the encoder's position "
    "embedding is a smooth random field (10x10 normal, bicubic, times 8), so that masks are "
    "blobs and not the noise of single patches; the decoder's linear layers are normal with "
    "variance 1/inputs, 4/inputs where queries and keys are made, so that prompts differ; the "
    "2x2 kernels of its upscaling are constant; the last layers that weigh the upscaled channels "
    "sum to zero over them and are 12 times as large, for logits of a deviation of about 14"
)


def random_vit_b() -> Any:
    """A ViT-B SAM of `RANDOM_WEIGHTS`."""
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]().eval().requires_grad_(False)
    torch.manual_seed(0)
    for name, module in sam.mask_decoder.named_modules():
        if isinstance(module, nn.Linear):
            gain = 2.0 if name.endswith(("q_proj", "k_proj")) else 1.0
            nn.init.normal_(module.weight, std=gain / module.in_features**0.5)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
            module.weight.copy_(module.weight[:, :, :1, :1].expand_as(module.weight).clone())
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    for mlp in sam.mask_decoder.output_hypernetworks_mlps:
        weight = mlp.layers[-1].weight
        weight.sub_(weight.mean(dim=0)).mul_(12.0)
    field = torch.randn(1, 768, 10, 10)
    field = F.interpolate(field, (64, 64), mode="bicubic").permute(0, 2, 3, 1)
    sam.image_encoder.pos_embed.copy_(8.0 * field)
    return sam


class CompactAsSam(nn.Module):
    """The compact segmenter with the interface of a SAM: same weights, windows and prompts.

    A prompt is decoded on the window of its proposal; the result is placed in SAM's frame, of
    1024 × 1024 logits instead of 256 × 256, so that small crystals keep their outlines.
    `SamPredictor` enlarges it to the image as it does for SAM. `seconds` counts the time that
    this took, which a SAM does not need.

    Parameters
    ----------
    model : CompactSam
        On the CPU.
    proposals : Proposals
        Of the one image, 1024 × 1024 pixels; every prompt is one of their points.
    settings : GeneratorSettings
        For the size of windows.
    """

    image_format = "RGB"
    mask_threshold = 0.0

    def __init__(
        self, model: CompactSam, proposals: Proposals, settings: GeneratorSettings
    ) -> None:
        super().__init__()
        self.model = model
        self.proposals = proposals
        self.windows = square_windows(proposals.boxes, settings.margin)
        self.device = torch.device("cpu")
        self.seconds = self.cpu_seconds = 0.0
        self.image_encoder = _Encoder(model)
        self.prompt_encoder = _RecordedPoints()

    def preprocess(self, image: Tensor) -> Tensor:
        """(1, 3, H, W) uint8 → (1, 1, H, W), zero mean and unit deviation."""
        return standardised(image[:, :1].float())

    def mask_decoder(
        self, *, image_embeddings: Features, sparse_prompt_embeddings: Tensor, **_: Any
    ) -> tuple[Tensor, Tensor]:
        """One mask per prompt: logits (N, 1, 256, 256) and predicted IoU (N, 1)."""
        points = sparse_prompt_embeddings[:, 0]
        chosen = torch.cdist(points.double(), self.proposals.points.double()).argmin(dim=1)
        prompts = PromptBatch(
            windows=self.windows[chosen],
            image_index=torch.zeros_like(chosen),
            points=self.proposals.points[chosen, None],
            labels=torch.ones_like(chosen[:, None]),
            boxes=self.proposals.boxes[chosen],
        )
        with autocast(torch.device("cpu")):
            logits, iou = self.model.decode(image_embeddings, prompts)
        started, cpu_started = perf_counter(), process_time()
        # A few at a time, so that the peak memory is the generator's own.
        parts = zip(logits[:, :1].float().split(8), prompts.windows.split(8), strict=True)
        placed = torch.cat([_in_frame(*part) for part in parts])
        self.seconds += perf_counter() - started
        self.cpu_seconds += process_time() - cpu_started
        return placed, iou[:, :1].float().clamp(0, 1)

    def postprocess_masks(
        self, masks: Tensor, input_size: tuple[int, int], original_size: tuple[int, int]
    ) -> Tensor:
        """As `segment_anything.modeling.Sam.postprocess_masks`."""
        masks = F.interpolate(masks, (FRAME, FRAME), mode="bilinear", align_corners=False)
        masks = masks[..., : input_size[0], : input_size[1]]
        return F.interpolate(masks, original_size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class _RecordedPoints:
    """Replaces SAM's prompt encoder; returns the points unchanged."""

    def __call__(self, points: tuple[Tensor, Tensor], boxes: None, masks: None) -> Any:
        return points[0], None

    def get_dense_pe(self) -> None:
        return None


@dataclass(frozen=True)
class _Encoder:
    model: CompactSam
    img_size: int = FRAME

    def __call__(self, image: Tensor) -> Features:
        with autocast(torch.device("cpu")):
            features: Features = self.model.image_encoder(image)
        return features


def standardised(image: Tensor) -> Tensor:
    """The compact encoder's input for an image (1, 1, H, W)."""
    image = (image - image.mean()) / image.std(correction=0)
    return image.contiguous(memory_format=torch.channels_last)


def _in_frame(logits: Tensor, windows: Tensor) -> Tensor:
    cells = (torch.arange(LOW_RESOLUTION) + 0.5) * (FRAME / LOW_RESOLUTION)
    sides = (windows[:, 2:] - windows[:, :2])[:, :, None]
    x, y = ((cells - windows[:, :2, None]) / sides * 2 - 1).unbind(dim=1)
    shape = (len(logits), LOW_RESOLUTION, LOW_RESOLUTION)
    grid = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], dim=-1)
    inside = (grid.abs() <= 1).all(dim=-1)[:, None]
    sampled = F.grid_sample(logits, grid, padding_mode="border", align_corners=False)
    return torch.where(inside, sampled, torch.tensor(-10.0))


def as_colour(image: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A grey image (H, W) as (H, W, 3)."""
    return np.repeat(image[..., None], 3, axis=2)
