"""Torch's fused attention in the blocks of Segment Anything's image encoder."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from segment_anything.modeling.image_encoder import get_rel_pos
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def fuse_attention(image_encoder: Any) -> None:
    """Use torch's fused attention kernels in every block of an `ImageEncoderViT`.

    The result is equal up to rounding, including relative positions, but the weights of all
    pairs of tokens are never in memory.
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
        grid = q.unflatten(2, (height, width))
        row_positions = get_rel_pos(height, height, attention.rel_pos_h).to(q.dtype)
        column_positions = get_rel_pos(width, width, attention.rel_pos_w).to(q.dtype)
        by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, row_positions).flatten(2, 3)
        by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, column_positions).flatten(2, 3)
        # A one-hot row and column in each key selects the term of its relative position.
        rows = torch.eye(height, device=x.device, dtype=q.dtype).repeat_interleave(width, dim=0)
        columns = torch.eye(width, device=x.device, dtype=q.dtype).repeat(height, 1)
        marks = torch.cat([rows, columns], dim=1).expand(*k.shape[:2], -1, -1)
        q = torch.cat([q * scale, by_row, by_column], dim=-1)
        k = torch.cat([k, marks], dim=-1)
        v = F.pad(v, (0, height + width))
        scale = 1.0
    attended = F.scaled_dot_product_attention(q, k, v, scale=scale)[..., :size]
    attended = attended.transpose(1, 2).reshape(batch, height, width, -1)
    out: Tensor = attention.proj(attended)
    return out
