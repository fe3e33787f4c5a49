"""Segment Anything's two-way transformer, computed in another order: equal up to rounding.

In an attention between few tokens and many pixels, the projections are applied to the tokens
only, on both sides, and never to the pixels. Pixels stay in rows of channels, the layout that
processors multiply fastest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mcn.segment.modeling.number_format import full_precision


@dataclass(frozen=True)
class Affine:
    """A linear layer: weight (outputs, inputs) and bias (outputs,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(…, inputs) to (…, outputs)."""
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class ReadingAttention:
    """Tokens that attend to pixels, with D channels and H heads.

    Parameters
    ----------
    query : Affine
        D to H · D: a token as the query of each head.
    output : Affine
        H · D to D: the mean pixel of each head as the update of the token.
    """

    query: Affine
    output: Affine


@dataclass(frozen=True)
class WritingAttention:
    """Pixels that attend to tokens, with D channels and H heads.

    Parameters
    ----------
    key, offset : Affine
        D to H · D, D to H: a token as the key of each head, and its bias for all pixels.
    value : Affine
        D to H · D: a token as the value of each head.
    """

    key: Affine
    offset: Affine
    value: Affine


class TwoWay:
    """`segment_anything.modeling.TwoWayTransformer`, for inference.

    Parameters
    ----------
    transformer : segment_anything.modeling.TwoWayTransformer
        In single precision; later changes of it have no effect.
    """

    def __init__(self, transformer: Any) -> None:
        self.layers = transformer.layers
        self.norm = transformer.norm_final_attn
        device = self.norm.weight.device
        with torch.no_grad(), full_precision(device):
            self.reading = [fold_reading(layer.cross_attn_token_to_image) for layer in self.layers]
            self.writing = [fold_writing(layer.cross_attn_image_to_token) for layer in self.layers]
            self.last = fold_reading(transformer.final_attn_token_to_image)

    def __call__(
        self, tokens: Tensor, keys: Tensor, position: Tensor, output_tokens: list[int]
    ) -> tuple[Tensor, Tensor]:
        """Let tokens and pixels attend to each other.

        Parameters
        ----------
        tokens : (N, T, D) float tensor
            Tokens of each prompt.
        keys : (B, L, D) tensor
            Image tokens; N / B prompts share those of an image.
        position : (1, L, D) tensor
            Positional encoding of image tokens.
        output_tokens : list of int
            Indices of the T tokens that are needed at the end.

        Returns
        -------
        queries : (N, len(output_tokens), D) tensor
            These tokens, updated.
        keys : (N, L, D) tensor
            The image tokens, updated for each prompt.
        """
        queries, placed = tokens, keys + position
        for layer, reading, writing in zip(self.layers, self.reading, self.writing, strict=True):
            if layer.skip_first_layer_pe:
                queries = layer.self_attn(q=queries, k=queries, v=queries)
            else:
                q = queries + tokens
                queries = queries + layer.self_attn(q=q, k=q, v=queries)
            queries = layer.norm1(queries)
            queries = layer.norm2(queries + _read(reading, queries + tokens, placed, keys))
            queries = layer.norm3(queries + layer.mlp(queries))
            weights, values = _write(writing, placed, queries + tokens, queries)
            if len(keys) < len(tokens):  # until here, all prompts of an image share them
                prompt_count = len(tokens) // len(keys)
                keys = keys[:, None].expand(-1, prompt_count, -1, -1).flatten(0, 1)
            keys = normalised(torch.baddbmm(keys, weights.mT, values), layer.norm4)
            placed = keys + position
        queries, tokens = queries[:, output_tokens], tokens[:, output_tokens]
        update = _read(self.last, queries + tokens, placed, keys)
        return self.norm(queries + update), keys


def doubled(x: Tensor, convolution: Any) -> Tensor:
    """A 2×2 transposed convolution of stride 2: (N, L, C) to (N, 4 L, C'), 2×2 pixels per row."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2).to(x.dtype)
    bias = convolution.bias.repeat(4).to(x.dtype)
    return F.linear(x, weight, bias).view(len(x), 4 * x.shape[1], convolution.out_channels)


def normalised(x: Tensor, norm: Any) -> Tensor:
    """A layer norm over the last dimension, in the format of `x`."""
    weight, bias = norm.weight.to(x.dtype), norm.bias.to(x.dtype)
    return F.layer_norm(x, weight.shape, weight, bias, norm.eps)


def raster(x: Tensor, height: int, width: int) -> Tensor:
    """Pixels (…, 16 · height · width) of `doubled` twice as (…, 4 height, 4 width)."""
    blocks = x.view(*x.shape[:-1], height, width, 2, 2, 2, 2)
    rows = blocks.movedim((-6, -4, -2), (-6, -5, -4))
    return rows.reshape(*x.shape[:-1], 4 * height, 4 * width)


def fold_reading(attention: Any) -> ReadingAttention:
    """Fold the projections of a `segment_anything` attention in which tokens are the queries."""
    q, k, v, out = _heads(attention)
    scale = _scale(attention)
    bias = attention.q_proj.bias.view(len(q), -1, 1)
    # A bias of the pixels changes all weights of a token equally: it has no effect.
    return ReadingAttention(
        query=Affine((k.mT @ q * scale).flatten(0, 1), (k.mT @ bias * scale).flatten()),
        output=Affine(
            (out @ v).transpose(0, 1).flatten(1),
            attention.out_proj(attention.v_proj.bias),
        ),
    )


def fold_writing(attention: Any) -> WritingAttention:
    """Fold the projections of a `segment_anything` attention in which tokens are the keys."""
    q, k, v, out = _heads(attention)
    scale = _scale(attention)
    q_bias, k_bias, v_bias = (
        projection.bias.view(len(q), -1, 1)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    # The weights of a head sum to one.
    shared = attention.out_proj.bias[:, None] / len(q)
    return WritingAttention(
        key=Affine((q.mT @ k * scale).flatten(0, 1), (q.mT @ k_bias * scale).flatten()),
        offset=Affine(
            (q_bias.mT @ k * scale).flatten(0, 1), (q_bias.mT @ k_bias * scale).flatten()
        ),
        value=Affine((out @ v).flatten(0, 1), (out @ v_bias + shared).flatten()),
    )


def _read(attention: ReadingAttention, tokens: Tensor, placed: Tensor, keys: Tensor) -> Tensor:
    """Attention of tokens (N, T, D) to pixels (B, L, D), each shared by N / B: (N, T, D)."""
    rows = attention.query(tokens).to(keys.dtype).view(len(keys), -1, keys.shape[2])
    mean = (rows @ placed.mT).softmax(dim=-1) @ keys
    return attention.output(mean.float().view(*tokens.shape[:2], -1))


def _write(
    attention: WritingAttention, placed: Tensor, tokens: Tensor, queries: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention of pixels (B, L, D) to the tokens (N, T, D) of each prompt.

    Returns
    -------
    weights : (N, T · H, L) tensor
        Weight of each value for each pixel.
    values : (N, T · H, D) tensor
        The values.
    """
    dtype, (count, token_count, channels) = placed.dtype, tokens.shape
    rows = attention.key(tokens).to(dtype).view(len(placed), -1, channels)
    offset = attention.offset(tokens).to(dtype).view(len(placed), -1, 1)
    logits = torch.baddbmm(offset, rows, placed.mT)
    weights = logits.view(count, token_count, -1, placed.shape[1]).softmax(dim=1)
    values = attention.value(queries).to(dtype).view(count, -1, channels)
    return weights.flatten(1, 2), values


def _heads(attention: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Projections by head: query, key, value (H, C, D), output (H, D, C)."""
    heads = attention.num_heads
    inner = (attention.q_proj, attention.k_proj, attention.v_proj)
    q, k, v = (projection.weight.unflatten(0, (heads, -1)) for projection in inner)
    return q, k, v, attention.out_proj.weight.unflatten(1, (heads, -1)).transpose(0, 1)


def _scale(attention: Any) -> float:
    return float((attention.internal_dim // attention.num_heads) ** -0.5)
