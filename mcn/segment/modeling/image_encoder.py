"""The compact image encoder: EfficientNet-Lite0 and a feature pyramid.

References
----------
M. Tan, Q. Le, "EfficientNet", ICML 2019 (the Lite variant drops squeeze-and-excitation and
uses ReLU6); T.-Y. Lin et al., "Feature Pyramid Networks", CVPR 2017.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mcn.segment.modeling.number_format import full_precision

# (blocks, kernel, stride, expansion, channels) of EfficientNet-Lite0, without its last stage
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
)
STEM_CHANNELS = 32
_MIN_CHANNELS = 8
_BLOCK_BYTES = 2**24
"""An allocator returns larger arrays to the system, which must clear them page by page again."""
STRIDE = 32
"""Height and width of an input must be multiples of this many pixels."""
PROPOSAL_STRIDE = 4
"""Pixels per cell of the proposal maps."""


@dataclass(frozen=True)
class Features:
    """Features of a batch of B images of H×W pixels.

    Parameters
    ----------
    embedding : (B, D, H/8, W/8) tensor
        SAM's image embedding.
    fine : (B, D/4, H/4, W/4) tensor
        Detail for the mask decoder's first upscaling step.
    finest : (B, D/8, H/2, W/2) tensor
        Detail for its second.
    proposal : (B, 6, H/4, W/4) tensor
        Logits of crystal centre and crystal foreground, then the logarithms of the distances
        from the pixel to the left, top, right and bottom of its crystal, in units of 4 px.
    """

    embedding: Tensor
    fine: Tensor
    finest: Tensor
    proposal: Tensor


class ConvAct(nn.Sequential):
    """A convolution with bias (including its folded batch norm) and ReLU6."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(
            nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups),
            nn.ReLU6(inplace=True),
        )

    @property
    def convolution(self) -> nn.Conv2d:
        """The convolution without its activation."""
        layer = self[0]
        assert isinstance(layer, nn.Conv2d)
        return layer


class Depthwise(ConvAct):
    """A depthwise convolution: one kernel per channel."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H/stride, W/stride)."""
        # On processors the gradient of a half-precision depthwise kernel is 3 to 6 times slower.
        single = self.training and x.device.type == "cpu"
        with full_precision(x.device) if single else nullcontext():
            x = x.float() if single else x
            for layer in self:
                x = layer(x)
        return x


class InvertedResidual(nn.Module):
    """The mobile inverted bottleneck of EfficientNet, without squeeze-and-excitation."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        middle = inner * expansion
        self.expand = ConvAct(inner, middle, 1) if expansion > 1 else nn.Identity()
        self.depthwise = Depthwise(middle, kernel, stride)
        self.project = nn.Conv2d(middle, outer, 1)
        self.residual = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        """(B, inner, H, W) → (B, outer, H/stride, W/stride)."""
        single = x.dtype == torch.float32 and x.device.type == "cpu" and not self.training
        if single and isinstance(self.expand, ConvAct):
            layers = self.expand.convolution, self.depthwise.convolution
            # Image by image, so that rounding does not depend on the rest of the batch.
            y = torch.cat([self._in_parts(image, *layers) for image in x.split(1)])
        else:
            y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y

    def _in_parts(self, x: Tensor, expand: nn.Conv2d, depthwise: nn.Conv2d) -> Tensor:
        """The same for inference, a few expanded channels at a time, which are independent."""
        fitting = _BLOCK_BYTES // max(1, x[:, 0].numel() * x.element_size())
        step = max(_MIN_CHANNELS, fitting // _MIN_CHANNELS * _MIN_CHANNELS)
        assert expand.bias is not None
        assert depthwise.bias is not None
        sums = None
        for start in range(0, depthwise.in_channels, step):
            part = slice(start, start + step)
            wide = _pointwise(x, expand.weight[part], expand.bias[part]).clamp_(0, 6)
            wide = F.conv2d(
                wide,
                depthwise.weight[part],
                depthwise.bias[part],
                depthwise.stride,
                depthwise.padding,
                groups=wide.shape[1],
            ).clamp_(0, 6)
            bias = self.project.bias if sums is None else None
            narrow = _pointwise(wide, self.project.weight[:, part], bias)
            sums = narrow if sums is None else sums.add_(narrow)
        assert sums is not None
        return sums


class CompactEncoder(nn.Module):
    """Grey images in, `Features` out.

    Parameters
    ----------
    dim : int
        Channels D of the image embedding.
    """

    def __init__(self, dim: int = 128) -> None:
        super().__init__()
        self.stem = ConvAct(1, STEM_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        inner = STEM_CHANNELS
        for blocks, kernel, stride, expansion, outer in _STAGES:
            stage = nn.Sequential()
            for i in range(blocks):
                stage.append(
                    InvertedResidual(inner, outer, kernel, stride if i == 0 else 1, expansion)
                )
                inner = outer
            self.stages.append(stage)
        half, quarter, eighth, sixteenth, last = 16, 24, 40, 112, 192
        middle = dim // 2
        self.lateral_32 = nn.Conv2d(last, dim, 1)
        self.context = nn.Sequential(Depthwise(dim, 5), ConvAct(dim, dim, 1))
        self.lateral_16 = nn.Conv2d(sixteenth, dim, 1)
        self.lateral_8 = nn.Conv2d(eighth, dim, 1)
        self.smooth_16 = nn.Sequential(Depthwise(dim, 3), ConvAct(dim, dim, 1))
        self.smooth_8 = ConvAct(dim, dim, 3)
        self.embed = nn.Conv2d(dim, dim, 1)
        self.lateral_4 = nn.Conv2d(quarter, middle, 1)
        self.reduce_8 = nn.Conv2d(dim, middle, 1)
        self.smooth_4 = ConvAct(middle, middle, 3)
        self.to_fine = nn.Conv2d(middle, dim // 4, 1)
        self.to_finest = nn.Conv2d(half, dim // 8, 3, padding=1)
        self.propose = nn.Sequential(ConvAct(middle, middle, 3), nn.Conv2d(middle, 6, 1))

    def forward(self, images: Tensor) -> Features:
        """Encode images.

        Parameters
        ----------
        images : (B, 1, H, W) float tensor
            Zero mean and unit deviation per image; H and W multiples of 32.
        """
        # A single channel has no memory layout to pass on: without this all layers would use
        # channels first, which processors convolve at a third of the speed.
        x1 = self.stem(images).contiguous(memory_format=torch.channels_last)
        x2 = self.stages[0](x1)
        x4 = self.stages[1](x2)
        x8 = self.stages[2](x4)
        x16 = self.stages[4](self.stages[3](x8))
        p32 = self.lateral_32(self.stages[5](x16))
        p32 = p32 + self.context(p32)
        p16 = self.lateral_16(x16) + _double(p32)
        p16 = p16 + self.smooth_16(p16)
        p8 = self.smooth_8(self.lateral_8(x8) + _double(p16))
        p4 = self.smooth_4(self.lateral_4(x4) + _double(self.reduce_8(p8)))
        return Features(
            embedding=self.embed(p8),
            fine=self.to_fine(p4),
            finest=self.to_finest(x2),
            proposal=self.propose(p4),
        )

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        """Start from EfficientNet-Lite0's ImageNet weights, batch norms folded.

        Parameters
        ----------
        state : dict of tensors
            The state of `efficientnet_lite_pytorch`'s EfficientNet-Lite0; its three colour
            channels are summed, as a grey image fed to all three would be.
        """

        def fold(conv: nn.Module, name: str, norm: str, grey: bool = False) -> None:
            assert isinstance(conv, nn.Conv2d)
            weight = state[f"{name}.weight"]
            weight = weight.sum(dim=1, keepdim=True) if grey else weight
            scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + 1e-3)
            bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
            with torch.no_grad():
                conv.weight.copy_(weight * scale[:, None, None, None])
                assert conv.bias is not None
                conv.bias.copy_(bias)

        fold(self.stem[0], "_conv_stem", "_bn0", grey=True)
        blocks = [block for stage in self.stages for block in stage.children()]
        for i, block in enumerate(blocks):
            if i > 0:  # the first block has no expansion
                fold(
                    block.get_submodule("expand.0"),
                    f"_blocks.{i}._expand_conv",
                    f"_blocks.{i}._bn0",
                )
            fold(
                block.get_submodule("depthwise.0"),
                f"_blocks.{i}._depthwise_conv",
                f"_blocks.{i}._bn1",
            )
            fold(block.get_submodule("project"), f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1×1 convolution, as a matrix product of rows of channels."""
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
