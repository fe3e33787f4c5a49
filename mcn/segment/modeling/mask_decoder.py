"""Segment Anything's mask decoder on a local window of the image features.

A prompt is decoded on a square window around its crystal, resampled to a fixed number of
tokens: the cost of a prompt does not depend on the image, and for the decoder all crystals
have about the same size.
"""

from __future__ import annotations

import torch
from segment_anything.modeling.mask_decoder import MaskDecoder
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mcn.segment.modeling.image_encoder import Features

TOKENS = 16
"""Tokens along the side of a window."""
MASK_SIZE = 4 * TOKENS
"""Mask logits along the side of a window."""
_LEVELS = 4


class WindowMaskDecoder(MaskDecoder):
    """A `MaskDecoder` that also upscales with the encoder's stride-4 and stride-2 features.

    As in the decoder of SAM 2, they are added before each upscaling step's activation.
    """

    def predict_windows(
        self,
        embedding: Tensor,
        fine: Tensor,
        finest: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode one prompt per window.

        Parameters
        ----------
        embedding, fine, finest : (N, D, T, T), (N, D/4, 2T, 2T), (N, D/8, 4T, 4T) tensors
            Features of each window.
        image_pe : (1, D, T, T) tensor
            Positional encoding of a window's tokens.
        sparse : (N, P, D) tensor
            Embedded points and boxes.
        dense : (N, D, T, T) tensor
            Embedded mask prompts.

        Returns
        -------
        logits : (N, M, 4T, 4T) tensor
            Mask logits; mask 0 is the single mask, the others are for ambiguous prompts.
        iou : (N, M) tensor
            Predicted intersection over union of each mask.
        """
        n = sparse.shape[0]
        output_tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(n, -1, -1), sparse], dim=1)
        source = embedding + dense.to(embedding.dtype)
        hidden, source = self.transformer(source, image_pe.expand(n, -1, -1, -1), tokens)
        source = source.transpose(1, 2).reshape(embedding.shape)
        up1, norm, act1, up2, act2 = self.output_upscaling
        source = act1(norm(up1(source) + fine).to(fine.dtype))
        source = act2(up2(source) + finest)
        weights = torch.stack(
            [mlp(hidden[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        logits = (weights @ source.flatten(2)).unflatten(2, source.shape[2:])
        return logits, self.iou_prediction_head(hidden[:, 0])


def window_features(
    features: Features, windows: Tensor, image_index: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Resample the features under each window.

    Parameters
    ----------
    features : Features
        Of B images.
    windows : (N, 4) float tensor
        Left, top, right, bottom of square windows, in pixels; they may reach outside.
    image_index : (N,) int64 tensor
        The image of each window.

    Returns
    -------
    embedding, fine, finest : (N, D, T, T), (N, D/4, 2T, 2T), (N, D/8, 4T, 4T) tensors
        Zero outside the image. Large windows are sampled from averaged features, so that no
        feature is skipped.
    """
    spacing = (windows[:, 2] - windows[:, 0]) / (8 * TOKENS)
    level = spacing.clamp(min=1).log2().round().long().clamp(max=_LEVELS - 1)
    return (
        _sample(features.embedding, 8, TOKENS, windows, image_index, level),
        _sample(features.fine, 4, 2 * TOKENS, windows, image_index, level),
        _sample(features.finest, 2, 4 * TOKENS, windows, image_index, level),
    )


def window_points(windows: Tensor, xy: Tensor) -> Tensor:
    """Image coordinates (N, P, 2) in the frame of their windows, 0 to `MASK_SIZE`."""
    origin = windows[:, None, :2]
    side = (windows[:, None, 2:] - origin).clamp(min=1e-6)
    return (xy - origin) / side * MASK_SIZE


def square_windows(boxes: Tensor, margin: float | Tensor) -> Tensor:
    """Square windows, `margin` (or (N, 1) margins) times the longer side of each (N, 4) box."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True).clamp(min=8.0) * margin
    return torch.cat([centre - side / 2, centre + side / 2], dim=1)


def _sample(
    feature: Tensor,
    stride: int,
    size: int,
    windows: Tensor,
    image_index: Tensor,
    level: Tensor,
) -> Tensor:
    n = windows.shape[0]
    out = feature.new_zeros((n, feature.shape[1], size, size)).contiguous(
        memory_format=torch.channels_last
    )
    steps = (torch.arange(size, device=windows.device) + 0.5) / size
    pyramid = feature.float()
    height, width = feature.shape[2] * stride, feature.shape[3] * stride
    sides = windows[:, 2:] - windows[:, :2]
    x = (windows[:, :1] + sides[:, :1] * steps) / width * 2 - 1
    y = (windows[:, 1:2] + sides[:, 1:] * steps) / height * 2 - 1
    grid = torch.stack(
        [x[:, None, :].expand(n, size, size), y[:, :, None].expand(n, size, size)], dim=-1
    )
    for step in range(int(level.max()) + 1 if n else 0):
        if step:
            pyramid = F.avg_pool2d(pyramid, 2, ceil_mode=True, count_include_pad=False)
        for image in image_index[level == step].unique().tolist():
            chosen = torch.nonzero((level == step) & (image_index == image))[:, 0]
            strip = grid[chosen].reshape(1, -1, size, 2)
            sampled = F.grid_sample(pyramid[image : image + 1], strip, align_corners=False)
            sampled = sampled.reshape(-1, len(chosen), size, size).transpose(0, 1)
            out[chosen] = sampled.to(out)
    return out
