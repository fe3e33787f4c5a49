"""Training settings of the segmenters."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mcn.segment.training.samples import SampleSettings


@dataclass(frozen=True)
class SegmenterTrainSettings:
    """Settings of a training.

    Parameters
    ----------
    steps, batch : int
        Optimiser steps, and crops per step.
    sample : SampleSettings
        How crops and prompts are drawn.
    proposed : int
        Prompts per crop that the model proposes itself, as it does at inference.
    rate : float
        Peak learning rate; the encoder's is half of it.
    weight_decay, clip, ema : float
        AdamW's decay, the limit of the gradient norm, the decay of the averaged weights.
    epoch : int
        Steps between evaluations.
    correction : float
        Share of steps with a second round: a click on an error of the first mask, or the mask
        again on a window that fits it.
    incomplete : tuple of str
        Names, or patterns with `*`, of images in which not all crystals are labelled. What is
        background there counts neither for nor against a mask.
    max_images : int
        Held-out images of each folder that are evaluated after each epoch.
    workers : int
        Processes that make samples.
    seed : int
        Seed of all random numbers.
    lora : int
        Rank of the adapters of a ViT's attention; 0 keeps its image encoder frozen.
    """

    steps: int = 3600
    batch: int = 6
    sample: SampleSettings = SampleSettings()
    proposed: int = 6
    rate: float = 6e-4
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.998
    epoch: int = 600
    correction: float = 0.3
    incomplete: tuple[str, ...] = ()
    max_images: int = 16
    workers: int = 1
    seed: int = 0
    lora: int = 0


PRESETS = {
    "cpu": SegmenterTrainSettings(),
    "gpu": SegmenterTrainSettings(
        steps=12000,
        batch=32,
        sample=SampleSettings(size=512, prompts=32),
        proposed=16,
        epoch=1000,
        ema=0.9995,
        workers=12,
    ),
}

# Meta's weights are already trained: the rate of a compact model would destroy them. Their
# encoder takes most of a step, about 20 s per crop on one CPU core, so there are fewer crops.
VIT_PRESETS = {
    "cpu": replace(
        PRESETS["cpu"], steps=200, batch=1, rate=1e-4, ema=0.98, epoch=100, max_images=4
    ),
    "gpu": replace(PRESETS["gpu"], steps=6000, batch=4, rate=1e-4, ema=0.998),
}
