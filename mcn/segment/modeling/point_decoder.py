"""Segment Anything's mask decoder for many single points on the same images.

The sums of `MaskDecoder` in another order: equal to it but for rounding. An attention between
few tokens and many pixels multiplies the pixels with the tokens carried through the projections,
never the pixels with the projections; what all prompts of an image share is computed once;
the masks of prompts that are not sure enough are never made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mcn.segment.modeling.processor import number_format


@dataclass(frozen=True)
class ImageTokens:
    """B images as the mask decoder sees them before any prompt.

    Parameters
    ----------
    keys, placed : (B, L, D) tensors
        Image tokens without and with their positional encoding.
    """

    keys: Tensor
    placed: Tensor


class PointDecoder:
    """The mask decoder of a `segment_anything.modeling.Sam`, arranged for single points.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        On the device it is to run on, in single precision.
    dtype : torch.dtype, optional
        What image tokens are computed in; tokens of the prompt stay in single precision.
    """

    def __init__(self, sam: Any, dtype: torch.dtype | None = None) -> None:
        self.prompts = sam.prompt_encoder
        self.decoder = sam.mask_decoder
        weight = self.decoder.mask_tokens.weight
        self.dtype = dtype or number_format(weight.device)
        self.grid = self.prompts.image_embedding_size
        self.masks = self.decoder.num_mask_tokens - 1
        with torch.no_grad():
            self.place = self.prompts.get_dense_pe().flatten(2).mT.to(self.dtype)

    def look(self, embedding: Tensor) -> ImageTokens:
        """What all prompts of images share, from the image encoder's answer (B, D, h, w)."""
        no_mask = self.prompts.no_mask_embed.weight
        keys = (embedding.flatten(2).mT.float() + no_mask).to(self.dtype)
        return ImageTokens(keys, keys + self.place)

    def decode(
        self, images: ImageTokens, points: Tensor, min_iou: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks of points that the decoder is sure enough of.

        Parameters
        ----------
        images : ImageTokens
            Of B images.
        points : (B, P, 2) float tensor
            One point a prompt, x, y in the frame of the image encoder.
        min_iou : float
            Masks of a lower predicted IoU are left out.

        Returns
        -------
        logits : (n, 4h, 4w) tensor
            Mask logits.
        iou : (n,) float tensor
            Predicted intersection over union.
        index : (n,) int64 tensor
            Which masks these are of the B·P·M of all prompts; M is 3 in Meta's models.
        """
        queries, keys = self._transform(images, self._tokens(points.flatten(0, 1)))
        iou = self.decoder.iou_prediction_head(queries[:, 0])[:, 1:]
        sure = iou >= min_iou
        prompts = torch.nonzero(sure.any(dim=1))[:, 0]
        if len(prompts) < len(keys):
            queries, keys = queries[prompts], keys[prompts]
        logits = self._masks(queries[:, 1:], keys)
        return logits[sure[prompts]], iou[sure], torch.nonzero(sure.flatten())[:, 0]

    def _tokens(self, points: Tensor) -> Tensor:
        """Points (N, 2) to tokens (N, T, D): predicted IoU, masks, point, padding."""
        labels = torch.ones(len(points), 1, dtype=torch.long, device=points.device)
        sparse, _ = self.prompts((points[:, None], labels), None, None)
        own = torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])
        return torch.cat([own.expand(len(points), -1, -1), sparse], dim=1)

    def _transform(self, images: ImageTokens, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """`TwoWayTransformer`: tokens (N, 1 + M, D) of IoU and masks, image tokens (N, L, D)."""
        transformer = self.decoder.transformer
        queries, keys, placed = tokens, images.keys, images.placed
        for layer in transformer.layers:
            if layer.skip_first_layer_pe:
                queries = layer.self_attn(q=queries, k=queries, v=queries)
            else:
                q = queries + tokens
                queries = queries + layer.self_attn(q=q, k=q, v=queries)
            queries = layer.norm1(queries)
            answer = _tokens_to_image(
                layer.cross_attn_token_to_image, queries + tokens, placed, keys
            )
            queries = layer.norm2(queries + answer)
            queries = layer.norm3(queries + layer.mlp(queries))
            weights, values = _image_to_tokens(
                layer.cross_attn_image_to_token, placed, queries + tokens, queries
            )
            if len(keys) < len(tokens):  # until here, all prompts of an image see the same
                each = len(tokens) // len(keys)
                keys = keys[:, None].expand(-1, each, -1, -1).flatten(0, 1)
            keys = _normalised(torch.baddbmm(keys, weights.mT, values), layer.norm4)
            placed = keys + self.place
        # The single-mask token and the point's own have said what they have to say.
        needed = [0, *range(2, 1 + self.decoder.num_mask_tokens)]
        queries, tokens = queries[:, needed], tokens[:, needed]
        answer = _tokens_to_image(
            transformer.final_attn_token_to_image, queries + tokens, placed, keys
        )
        return transformer.norm_final_attn(queries + answer), keys

    def _masks(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Tokens of masks (N, M, D) and image tokens (N, L, D) to logits (N, M, 4h, 4w)."""
        first, norm, act, second, act2 = self.decoder.output_upscaling
        up: Tensor = act(_normalised(_doubled(keys, first), norm))
        up = act2(_doubled(up.flatten(1, 2), second)).flatten(1, 2)
        mlps = self.decoder.output_hypernetworks_mlps[1:]
        weights = torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(mlps)], dim=1)
        logits: Tensor = weights.to(self.dtype) @ up.mT
        height, width = self.grid
        # Each image token has become 2×2 pixels, and each of them 2×2 again.
        logits = logits.view(*logits.shape[:2], height, width, 2, 2, 2, 2)
        return logits.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(
            *logits.shape[:2], 4 * height, 4 * width
        )


def _tokens_to_image(attention: Any, q: Tensor, placed: Tensor, keys: Tensor) -> Tensor:
    """Attention of tokens (N, T, D) to the tokens (B, L, D) of images that N / B of them share."""
    heads = attention.num_heads
    # A bias of the keys moves all of a token's weights alike: it has no say.
    rows = _heads(attention.q_proj(q), heads) @ _by_head(attention.k_proj.weight, heads)
    rows = (rows * _scale(attention)).to(keys.dtype)
    weights = (rows.view(len(keys), -1, rows.shape[-1]) @ placed.mT).softmax(dim=-1)
    mean = (weights @ keys).float().view(rows.shape)
    values = mean @ _by_head(attention.v_proj.weight, heads).mT
    values = values.transpose(1, 2).flatten(2) + attention.v_proj.bias
    answer: Tensor = attention.out_proj(values)
    return answer


def _image_to_tokens(
    attention: Any, placed: Tensor, k: Tensor, queries: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention of the tokens (B, L, D) of images to the tokens (N, T, D) of each prompt.

    Returns
    -------
    weights : (N, heads · T, L) tensor
        How much each image token takes of each value.
    values : (N, heads · T, D) tensor
        What there is to take, output projection and bias included.
    """
    heads, dtype = attention.num_heads, placed.dtype
    k = _heads(attention.k_proj(k), heads) * _scale(attention)
    rows = (k @ _by_head(attention.q_proj.weight, heads)).to(dtype)
    bias = (k @ attention.q_proj.bias.view(heads, -1, 1)).to(dtype)
    logits = torch.baddbmm(
        bias.view(len(placed), -1, 1), rows.view(len(placed), -1, rows.shape[-1]), placed.mT
    )
    weights = logits.view(*rows.shape[:3], -1).softmax(dim=2)
    out = _by_head(attention.out_proj.weight.mT, heads)
    values = _heads(attention.v_proj(queries), heads) @ out
    # The weights of a head sum to one.
    values = values + attention.out_proj.bias / heads
    return weights.flatten(1, 2), values.flatten(1, 2).to(dtype)


def _doubled(x: Tensor, convolution: Any) -> Tensor:
    """A 2×2 transposed convolution of stride 2: (N, L, C) to (N, L, 4, C')."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2).to(x.dtype)
    bias = convolution.bias.repeat(4).to(x.dtype)
    doubled: Tensor = F.linear(x, weight, bias).unflatten(-1, (4, -1))
    return doubled


def _normalised(x: Tensor, norm: Any) -> Tensor:
    weight, bias = norm.weight.to(x.dtype), norm.bias.to(x.dtype)
    return F.layer_norm(x, weight.shape, weight, bias, norm.eps)


def _heads(x: Tensor, heads: int) -> Tensor:
    apart: Tensor = x.unflatten(-1, (heads, -1))
    return apart.transpose(1, 2)


def _by_head(weight: Tensor, heads: int) -> Tensor:
    """A projection's weight (C, D) as (heads, C / heads, D)."""
    apart: Tensor = weight.unflatten(0, (heads, -1))
    return apart


def _scale(attention: Any) -> float:
    return float((attention.internal_dim // attention.num_heads) ** -0.5)
