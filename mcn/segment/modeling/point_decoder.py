"""Segment Anything's mask decoder for many single points on the same images.

It computes `MaskDecoder` in the order of `two_way`, equal up to rounding. What all prompts of an
image share is computed once; masks with a low predicted IoU are never computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mcn.segment.modeling.number_format import number_format
from mcn.segment.modeling.two_way import TwoWay, doubled, normalised, raster


class PointDecoder:
    """The mask decoder of a `segment_anything.modeling.Sam`, arranged for single points.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        On the device where it runs, in single precision.
    dtype : torch.dtype, optional
        Number format of the image tokens; prompt tokens stay in single precision.
    """

    def __init__(self, sam: Any, dtype: torch.dtype | None = None) -> None:
        self.prompts = sam.prompt_encoder
        self.decoder = sam.mask_decoder
        weight = self.decoder.mask_tokens.weight
        self.dtype = dtype or number_format(weight.device)
        self.transform = TwoWay(self.decoder.transformer)
        self.grid = self.prompts.image_embedding_size
        self.masks = self.decoder.num_mask_tokens - 1
        with torch.no_grad():
            self.position = self.prompts.get_dense_pe().flatten(2).mT.to(self.dtype)

    def prepare(self, embedding: Tensor) -> Tensor:
        """Image tokens (B, L, D) that all prompts share, from an embedding (B, D, h, w)."""
        no_mask = self.prompts.no_mask_embed.weight
        tokens: Tensor = embedding.flatten(2).mT.float() + no_mask
        return tokens.to(self.dtype)

    def decode(
        self, images: Tensor, points: Tensor, min_iou: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks of points, if their predicted IoU is high enough.

        Parameters
        ----------
        images : (B, L, D) tensor
            Image tokens of B images.
        points : (B, P, 2) float tensor
            One point x, y per prompt, in the frame of the image encoder.
        min_iou : float
            Masks with a lower predicted IoU are left out.

        Returns
        -------
        logits : (n, 4h, 4w) tensor
            Mask logits.
        iou : (n,) float tensor
            Predicted intersection over union.
        index : (n,) int64 tensor
            Indices of these masks among the B·P·M of all prompts; M is 3 in Meta's models.
        """
        # After the last attention, the single-mask token and the point tokens are not needed.
        output_tokens = [0, *range(2, 1 + self.decoder.num_mask_tokens)]
        tokens = self._tokens(points.flatten(0, 1))
        queries, keys = self.transform(tokens, images, self.position, output_tokens)
        iou = self.decoder.iou_prediction_head(queries[:, 0])[:, 1:]
        passed = iou >= min_iou
        prompts = torch.nonzero(passed.any(dim=1))[:, 0]
        if len(prompts) < len(keys):
            queries, keys = queries[prompts], keys[prompts]
        logits = self._masks(queries[:, 1:], keys)
        return logits[passed[prompts]], iou[passed], torch.nonzero(passed.flatten())[:, 0]

    def _tokens(self, points: Tensor) -> Tensor:
        """Points (N, 2) to tokens (N, T, D): predicted IoU, masks, point, padding."""
        labels = torch.ones(len(points), 1, dtype=torch.long, device=points.device)
        sparse, _ = self.prompts((points[:, None], labels), None, None)
        output_tokens = torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])
        return torch.cat([output_tokens.expand(len(points), -1, -1), sparse], dim=1)

    def _masks(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Tokens of masks (N, M, D) and image tokens (N, L, D) to logits (N, M, 4h, 4w)."""
        first, norm, act, second, act2 = self.decoder.output_upscaling
        up = act(normalised(doubled(keys, first), norm))
        up = act2(doubled(up, second))
        mlps = self.decoder.output_hypernetworks_mlps[1:]
        weights = torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(mlps)], dim=1)
        return raster(weights.to(self.dtype) @ up.mT, *self.grid)
