"""MicroCrystalNet and its Normalized Sparse Reduction block.

The source paper [1]_ names three steps of its block: feature normalisation,
dimensionality reduction and sparse feature selection. The authors' released network does
not contain the block, so what stands here is our reading of those three steps.

References
----------
.. [1] Yaqoob et al., "MicroCrystalNet: An Efficient and Explainable Convolutional Neural
   Network for Microcrystal Classification Using Scanning Electron Microscope
   Petrography", IEEE Access, 2025, doi:10.1109/ACCESS.2025.3552626.
.. [2] Liu et al., "Learning Efficient Convolutional Networks through Network Slimming",
   ICCV 2017: the L1 penalty that closes gates.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from mcn.taxonomy import SHAPES


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
    classes : tuple of str
        Names of the outputs, in their order.
    """

    stem: int = 16
    widths: tuple[int, int, int] = (32, 64, 128)
    reduced: tuple[int, int, int] = (24, 40, 64)
    classes: tuple[str, ...] = SHAPES

    def to_json(self) -> str:
        """The settings as a line of JSON, to be kept beside the weights."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> NetworkSettings:
        """The settings of `to_json`; KeyError, TypeError or ValueError if it is not that."""
        sizes = json.loads(text)
        first, second, third = map(int, sizes["widths"])
        one, two, three = map(int, sizes["reduced"])
        classes = tuple(map(str, sizes["classes"]))
        return cls(int(sizes["stem"]), (first, second, third), (one, two, three), classes)


class NormalizedSparseReduction(nn.Module):
    """Normalise feature maps, mix them down to fewer, and let through a learned few.

    1. *Feature normalisation*: each map to zero mean and unit variance over the training
       set (batch normalisation, so that no crop depends on its neighbours in use).
    2. *Dimensionality reduction*: a 1×1 convolution from `channels` to `reduced` maps.
    3. *Sparse feature selection*: each reduced map times a learned gate. An L1 penalty
       (`MicroCrystalNet.gate_sum`) presses on the gates while they are trained and
       `project` keeps them in [0, 1], so those of little use end at exactly 0.

    Parameters
    ----------
    channels, reduced : int
        Feature maps in and out.
    """

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm2d(channels)
        self.reduce = nn.Conv2d(channels, reduced, kernel_size=1, bias=False)
        self.gates = nn.Parameter(torch.ones(reduced))

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels, H, W) feature maps to (N, reduced, H, W)."""
        selected: Tensor = self.reduce(self.normalise(features)) * self.gates[:, None, None]
        return selected

    @torch.no_grad()
    def project(self) -> None:
        """Bring the gates back into [0, 1] after a step of training."""
        self.gates.clamp_(0, 1)

    @property
    def sparsity(self) -> float:
        """Fraction of the reduced maps that are switched off, 0 to 1."""
        return float((self.gates == 0).float().mean())


class MicroCrystalNet(nn.Module):
    """Crops of single crystals to one logit a class.

    Convolutions in three stages, each of which is closed by a `NormalizedSparseReduction`
    and halves the maps, or quarters them in the first; the last maps are averaged over the
    crop and read by one linear layer. The crystal's outline is implied by the black around
    it: the first thing the network does is to part the grey levels, standardised over the
    crystal, from the silhouette.

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
        reduced = settings.reduced
        self.stem = _convolution(2, settings.stem, kernel=5, stride=2)
        self.stages = nn.Sequential(
            _convolution(settings.stem, first, stride=2),
            NormalizedSparseReduction(first, reduced[0]),
            _convolution(reduced[0], second),
            _convolution(second, second, stride=2),
            NormalizedSparseReduction(second, reduced[1]),
            _convolution(reduced[1], third, stride=2),
            _convolution(third, third),
            NormalizedSparseReduction(third, reduced[2]),
        )
        self.head = nn.Linear(reduced[2], len(settings.classes))

    def forward(self, crops: Tensor) -> Tensor:
        """(N, 1, 64, 64) float crops, 0 to 255, to (N, classes) logits."""
        logits: Tensor = self.head(self.embed(crops))
        return logits

    def embed(self, crops: Tensor) -> Tensor:
        """(N, 1, 64, 64) float crops, 0 to 255, to (N, reduced[2]) features."""
        maps: Tensor = self.stages(self.stem(standardise(crops)))
        return maps.mean(dim=(2, 3))

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
    """Part crops into standardised grey levels and silhouette.

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


def _convolution(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )
