"""The compact SAM's mask decoder for many prompts on the same images, arranged for speed.

It computes `CompactSam.decode` in another order, equal up to rounding, and only the single mask
of each prompt, if its predicted IoU is high enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mcn.segment.modeling.compact_sam import CompactSam, PromptBatch
from mcn.segment.modeling.image_encoder import Features
from mcn.segment.modeling.mask_decoder import MASK_SIZE, TOKENS
from mcn.segment.modeling.number_format import full_precision, number_format
from mcn.segment.modeling.two_way import TwoWay, doubled, normalised, raster
from mcn.segment.modeling.window_sampling import (
    Pyramid,
    pyramid,
    read_windows,
    window_cells,
    window_levels,
)


@dataclass(frozen=True)
class WindowFeatures:
    """Features of B images, prepared for sampling in windows."""

    embedding: Pyramid
    fine: Pyramid
    finest: Pyramid


class WindowDecoder:
    """The decoder of a `CompactSam`, for inference.

    Parameters
    ----------
    model : CompactSam
        On the device where it runs, in single precision.
    dtype : torch.dtype, optional
        Number format of the image tokens; prompt tokens stay in single precision.
    """

    def __init__(self, model: CompactSam, dtype: torch.dtype | None = None) -> None:
        self.model = model
        self.decoder = model.mask_decoder
        device = self.decoder.mask_tokens.weight.device
        self.dtype = dtype or number_format(device)
        self.transform = TwoWay(self.decoder.transformer)
        self.cells = tuple(window_cells(TOKENS, doublings, device) for doublings in range(3))
        with full_precision(device):
            self.position = model.prompt_encoder.get_dense_pe().flatten(2).mT.to(self.dtype)

    def prepare(self, features: Features, windows: Tensor) -> WindowFeatures:
        """What all prompts of the images share, for `windows` (N, 4) and smaller ones."""
        levels = int(window_levels(windows, TOKENS).max()) + 1 if len(windows) else 1
        return WindowFeatures(
            pyramid(features.embedding, 8, levels),
            pyramid(features.fine, 4, levels),
            pyramid(features.finest, 2, levels),
        )

    def decode(
        self, features: WindowFeatures, prompts: PromptBatch, min_iou: float = -torch.inf
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The single masks of prompts, if their predicted IoU is high enough.

        Parameters
        ----------
        features : WindowFeatures
            Of B images.
        prompts : PromptBatch
            N prompts.
        min_iou : float
            Masks with a lower predicted IoU are left out.

        Returns
        -------
        logits : (n, 4T, 4T) float tensor
            Mask logits over the windows of the prompts that are kept.
        iou : (n,) float tensor
            Predicted intersection over union, 0 to 1.
        index : (n,) int64 tensor
            Indices of these prompts.
        """
        with full_precision(prompts.windows.device):
            return self._decode(features, prompts, min_iou)

    def _decode(
        self, features: WindowFeatures, prompts: PromptBatch, min_iou: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        if not len(prompts.windows):
            empty = prompts.windows.new_zeros(0)
            return empty.new_zeros((0, MASK_SIZE, MASK_SIZE)), empty, empty.long()
        sparse, dense = self.model.embed(prompts)
        output_tokens = torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(len(sparse), -1, -1), sparse], dim=1)
        sampling = prompts.windows, prompts.image_index, window_levels(prompts.windows, TOKENS)
        keys = read_windows(features.embedding, *sampling, self.cells[0])
        keys = (keys + dense.flatten(2).mT).to(self.dtype)
        queries, keys = self.transform(tokens, keys, self.position, [0, 1])
        iou = self.decoder.iou_prediction_head(queries[:, 0])[:, 0].float().clamp(0, 1)
        index = torch.nonzero(iou >= min_iou)[:, 0]
        if len(index) < len(iou):
            queries, keys, iou = queries[index], keys[index], iou[index]
            sampling = sampling[0][index], sampling[1][index], sampling[2][index]
        fine = read_windows(features.fine, *sampling, self.cells[1])
        finest = read_windows(features.finest, *sampling, self.cells[2])
        return self._masks(queries[:, 1], keys, fine, finest), iou, index

    def _masks(self, tokens: Tensor, keys: Tensor, fine: Tensor, finest: Tensor) -> Tensor:
        """Mask tokens (N, D), image tokens (N, L, D) and detail to logits (N, 4T, 4T)."""
        first, norm, act, second, act2 = self.decoder.output_upscaling
        up = act(normalised(doubled(keys, first).add_(fine), norm))
        up = act2(doubled(up, second).add_(finest))
        weights = self.decoder.output_hypernetworks_mlps[0](tokens)
        logits = (weights.to(self.dtype)[:, None] @ up.mT)[:, 0]
        return raster(logits.float(), TOKENS, TOKENS)
