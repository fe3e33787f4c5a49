"""Low-rank adapters: the change of a large layer as a product of two small matrices."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mcn.segment.modeling.number_format import full_precision


class LowRank(nn.Module):
    """Adds a matrix of low rank to a weight.

    Parameters
    ----------
    rows, columns : int
        Shape of the weight.
    rank : int
        Rank of the matrix, which is zero at first.

    References
    ----------
    E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
    """

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight (rows, columns) plus the learnt matrix."""
        # In half precision a small change of a weight would be rounded away.
        with full_precision(weight.device):
            return weight + self.up @ self.down


def adapt_attention(encoder: Any, rank: int) -> None:
    """Give the `qkv` projection of each block of an `ImageEncoderViT` an adapter.

    The parameters of the encoder are frozen; only the adapters learn.
    """
    encoder.requires_grad_(False)
    for block in encoder.blocks:
        qkv = block.attn.qkv
        adapter = LowRank(qkv.out_features, qkv.in_features, rank).to(qkv.weight)
        parametrize.register_parametrization(qkv, "weight", adapter)


@torch.no_grad()
def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model with its adapters merged into its weights."""
    state: dict[str, Tensor] = {
        name: t for name, t in model.state_dict().items() if ".parametrizations." not in name
    }
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            state[f"{name}.weight"] = module.weight.detach()
    return state
