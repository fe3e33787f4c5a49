"""The average of a model's weights over its training, which is what is evaluated and written."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

_WARMUP = 20


def average_weights(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the weights of `model`, in evaluation mode.

    It starts as a copy; `update_parameters(model)` moves it. The decay rises from
    2 / 22 to `decay` over the first updates, so that the initial weights are soon forgotten;
    `torch.optim.swa_utils.get_ema_multi_avg_fn` supports only a constant decay. Parameters that
    need no gradient are shared with `model`: they may be most of the memory.
    """

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        steps = int(count) + 1
        weight = 1 - min(decay, steps / (steps + _WARMUP))
        for average, parameter in zip(averaged, current, strict=True):
            if average.data_ptr() != parameter.data_ptr():
                average.lerp_(parameter, weight)

    average = AveragedModel(model, multi_avg_fn=update)
    average.eval().requires_grad_(False)
    for module, copied in zip(model.modules(), average.module.modules(), strict=True):
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                setattr(copied, name, parameter)
    return average
