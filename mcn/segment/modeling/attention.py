"""Torch's fused attention in Segment Anything's image encoder, which writes it out by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from segment_anything.modeling.image_encoder import get_rel_pos
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def fuse_attention(image_encoder: Any) -> None:
    """Let every block of an `ImageEncoderViT` attend by torch's fused kernels.

    Equal but for rounding, relative positions included, without a weight for every pair of
    tokens ever in memory.
    """
    for block in image_encoder.blocks:
        block.attn.forward = partial(_attend, block.attn)


def _attend(attention: Any, x: Tensor) -> Tensor:
    """`Attention.forward`: (B, H, W, C) → (B, H, W, C)."""
    batch, height, width, _ = x.shape
    qkv = attention.qkv(x).reshape(batch, height * width, 3, attention.num_heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    size = q.shape[-1]
    scale = float(attention.scale)
    if attention.use_rel_pos:
        places = q.unflatten(2, (height, width))
        down = get_rel_pos(height, height, attention.rel_pos_h).to(q.dtype)
        across = get_rel_pos(width, width, attention.rel_pos_w).to(q.dtype)
        by_row = torch.einsum("bnhwc,hkc->bnhwk", places, down).flatten(2, 3)
        by_column = torch.einsum("bnhwc,wkc->bnhwk", places, across).flatten(2, 3)
        # A key that marks its row and column picks what the query gives to each of them.
        rows = torch.eye(height, device=x.device, dtype=q.dtype).repeat_interleave(width, dim=0)
        columns = torch.eye(width, device=x.device, dtype=q.dtype).repeat(height, 1)
        marks = torch.cat([rows, columns], dim=1).expand(*k.shape[:2], -1, -1)
        q = torch.cat([q * scale, by_row, by_column], dim=-1)
        k = torch.cat([k, marks], dim=-1)
        v = F.pad(v, (0, height + width))
        scale = 1.0
    answer = F.scaled_dot_product_attention(q, k, v, scale=scale)[..., :size]
    answer = answer.transpose(1, 2).reshape(batch, height, width, -1)
    out: Tensor = attention.proj(answer)
    return out
