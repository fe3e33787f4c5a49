"""MicroCrystalNet and its Normalized Sparse Reduction block.

The source paper [1]_ names three steps of its block: feature normalisation,
dimensionality reduction and sparse feature selection. The authors' released network does
not contain the block, so this is our interpretation of the three steps.

References
----------
.. [1] Yaqoob et al., "MicroCrystalNet: An Efficient and Explainable Convolutional Neural
   Network for Microcrystal Classification Using Scanning Electron Microscope
   Petrography", IEEE Access, 2025, doi:10.1109/ACCESS.2025.3552626.
.. [2] Liu et al., "Learning Efficient Convolutional Networks through Network Slimming",
   ICCV 2017: the L1 penalty that closes gates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from mcn.taxonomy import CALCITE, Taxonomy

STEPS: Final = ("normalise", "reduce", "select")
"""The block's three steps, in order."""


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes of a MicroCrystalNet.

    Parameters
    ----------
    stem : int
        Feature maps of the first convolution.
    widths : tuple of 3 int
        Feature maps of each stage's convolutions.
    reduced : tuple of 3 int
        Feature maps that each stage's reduction keeps, before selection.
    taxonomy : Taxonomy
        The shapes to distinguish, and their facet definitions.
    steps : tuple of str
        The `STEPS` in use; without any it is a plain CNN. Steps are left out only to measure
        their effect.
    """

    stem: int = 16
    widths: tuple[int, int, int] = (32, 64, 128)
    reduced: tuple[int, int, int] = (24, 40, 64)
    taxonomy: Taxonomy = CALCITE
    steps: tuple[str, ...] = STEPS

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, to store with the weights."""
        sizes = {name: getattr(self, name) for name in ("stem", "widths", "reduced", "steps")}
        return {
            **sizes,
            "facet_of": dict(self.taxonomy.facet_of),
            "also": dict(self.taxonomy.aliases),
        }

    @classmethod
    def from_dict(cls, sizes: Mapping[str, Any]) -> NetworkSettings:
        """The settings of `as_dict`; KeyError, TypeError or ValueError if they are invalid."""
        first, second, third = map(int, sizes["widths"])
        reduced_1, reduced_2, reduced_3 = map(int, sizes["reduced"])
        taxonomy = Taxonomy(sizes["facet_of"], sizes["also"])
        steps = tuple(map(str, sizes["steps"]))
        widths, reduced = (first, second, third), (reduced_1, reduced_2, reduced_3)
        return cls(int(sizes["stem"]), widths, reduced, taxonomy, steps)


class NormalizedSparseReduction(nn.Module):
    """Normalise feature maps, reduce their number and select some of them.

    1. *Feature normalisation*: each map to zero mean and unit variance over the training
       set (batch normalisation; at inference no crop depends on the others).
    2. *Dimensionality reduction*: a 1×1 convolution from `channels` to `reduced` maps.
    3. *Sparse feature selection*: each reduced map times a learned gate. An L1 penalty
       (`MicroCrystalNet.gate_sum`) shrinks the gates during training and `project` keeps
       them in [0, 1], so that gates of little use end at exactly 0.

    Parameters
    ----------
    channels, reduced : int
        Feature maps in and out.
    steps : tuple of str
        The `STEPS` to apply; the others leave the maps as they are.
    """

    normalise: nn.Module
    reduce: nn.Module

    def __init__(self, channels: int, reduced: int, steps: tuple[str, ...] = STEPS) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm2d(channels) if "normalise" in steps else nn.Identity()
        self.reduce = nn.Identity()
        if "reduce" in steps:
            self.reduce = nn.Conv2d(channels, reduced, kernel_size=1, bias=False)
        maps = reduced if "reduce" in steps else channels
        self.gates = nn.Parameter(torch.ones(maps), requires_grad="select" in steps)

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels, H, W) feature maps to (N, reduced, H, W)."""
        selected: Tensor = self.reduce(self.normalise(features)) * self.gates[:, None, None]
        return selected

    @torch.no_grad()
    def project(self) -> None:
        """Clip the gates to [0, 1] after a training step."""
        self.gates.clamp_(0, 1)

    @property
    def sparsity(self) -> float:
        """Fraction of the reduced maps that are switched off, 0 to 1."""
        return float((self.gates == 0).float().mean())


class MicroCrystalNet(nn.Module):
    """A network from crops of single crystals to one logit per shape.

    Three stages of convolutions, each followed by a `NormalizedSparseReduction`, work on maps
    of 16×16, 16×16 and 8×8. The last maps are averaged over the crop and passed to two heads,
    one for the shape and one for the facet definition. A shape's logit is the sum of its own
    and its facet definition's, so the probability of a facet definition is the sum over its
    shapes, and the two can never disagree. The black around a crystal gives its outline: the
    network first separates the grey levels, standardised over the crystal, from the
    silhouette.

    Parameters
    ----------
    settings : NetworkSettings
        Sizes and class names.
    """

    settings: NetworkSettings

    def __init__(self, settings: NetworkSettings = NetworkSettings()) -> None:
        super().__init__()
        self.settings = settings
        first, second, third = settings.widths
        steps, taxonomy = settings.steps, settings.taxonomy
        normalised = "normalise" in steps
        reduced = settings.reduced if "reduce" in steps else settings.widths
        self.stem = _convolution(2, settings.stem, normalised, kernel=5, stride=2)
        self.stages = nn.Sequential(
            _convolution(settings.stem, first, normalised, stride=2),
            NormalizedSparseReduction(first, reduced[0], steps),
            _convolution(reduced[0], second, normalised),
            _convolution(second, second, normalised),
            NormalizedSparseReduction(second, reduced[1], steps),
            _convolution(reduced[1], third, normalised, stride=2),
            _convolution(third, third, normalised),
            NormalizedSparseReduction(third, reduced[2], steps),
        )
        self.shape_head = nn.Linear(reduced[2], len(taxonomy.shapes))
        self.facet_head = nn.Linear(reduced[2], len(taxonomy.facets))
        self.facet_indices = list(taxonomy.facet_indices)

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 1, 64, 64) float crops, 0 to 255, to (N, shapes) logits."""
        return self.forward_head(self.forward_features(crops))

    def forward_features(self, crops: Tensor) -> Tensor:
        """(N, 1, 64, 64) float crops, 0 to 255, to (N, reduced[2]) features."""
        maps: Tensor = self.stages(self.stem(standardise(crops)))
        return maps.mean(dim=(2, 3))

    def forward_head(self, features: Tensor) -> Tensor:
        """(N, reduced[2]) features to (N, shapes) logits."""
        facet_logits: Tensor = self.facet_head(features)
        logits: Tensor = self.shape_head(features) + facet_logits[:, self.facet_indices]
        return logits

    @property
    def blocks(self) -> list[NormalizedSparseReduction]:
        """The three Normalized Sparse Reduction blocks, first to last."""
        return [stage for stage in self.stages if isinstance(stage, NormalizedSparseReduction)]

    @property
    def sparsity(self) -> float:
        """Fraction of all the reduced feature maps that are switched off, 0 to 1."""
        return float((torch.cat([block.gates for block in self.blocks]) == 0).float().mean())

    def gate_sum(self) -> Tensor:
        """Sum of all gates, the L1 penalty that makes the selection sparse."""
        return torch.stack([block.gates.sum() for block in self.blocks]).sum()


def standardise(crops: Tensor) -> Tensor:
    """Separate crops into standardised grey levels and silhouette.

    Brightness and contrast are the operator's choice at the microscope, so each crystal's
    grey levels are brought to zero mean and unit variance over its own pixels.

    Parameters
    ----------
    crops : (N, 1, H, W) float tensor
        Crystals on black, 0 to 255.

    Returns
    -------
    (N, 2, H, W) float tensor
        Grey levels (0 outside the crystal) and silhouette (1 on the crystal).
    """
    silhouette = (crops > 0).to(crops.dtype)
    area = silhouette.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    centred = (crops - crops.sum(dim=(2, 3), keepdim=True) / area) * silhouette
    variance = centred.square().sum(dim=(2, 3), keepdim=True) / area
    # Grey levels are whole numbers, so a deviation under 1 is a flat crystal, not contrast.
    return torch.cat([centred / variance.sqrt().clamp(min=1), silhouette], dim=1)


def _convolution(
    channels: int, out: int, normalised: bool, kernel: int = 3, stride: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=not normalised),
        nn.BatchNorm2d(out) if normalised else nn.Identity(),
        nn.ReLU(),
    )
