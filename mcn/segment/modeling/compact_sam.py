"""The compact Segment Anything: its network and prompts."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from segment_anything.modeling import PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

from mcn.segment.modeling.image_encoder import CompactEncoder, Features
from mcn.segment.modeling.mask_decoder import (
    MASK_SIZE,
    TOKENS,
    WindowMaskDecoder,
    window_features,
    window_points,
)
from mcn.segment.modeling.number_format import full_precision


@dataclass(frozen=True)
class PromptBatch:
    """N prompts, one crystal each, in image pixels.

    Parameters
    ----------
    windows : (N, 4) float tensor
        Square window each prompt is decoded on.
    image_index : (N,) int64 tensor
        The image of each prompt.
    points : (N, P, 2) float tensor
        Clicked points x, y.
    labels : (N, P) int64 tensor
        1 on the crystal, 0 off it, -1 no point.
    boxes : (N, 4) float tensor or None
        Boxes; NaN if a prompt has none.
    mask_logits : (N, 1, 4T, 4T) tensor or None
        Logits of a previous mask.
    """

    windows: Tensor
    image_index: Tensor
    points: Tensor
    labels: Tensor
    boxes: Tensor | None = None
    mask_logits: Tensor | None = None

    def select(self, kept: slice | Tensor) -> PromptBatch:
        """The prompts selected by a slice, or by a boolean or index tensor."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: part[kept] for name, part in parts.items() if part is not None}
        return replace(self, **given)


class CompactSam(nn.Module):
    """A small Segment Anything: its prompt encoder and mask decoder on a compact encoder.

    Parameters
    ----------
    image_encoder : CompactEncoder
        Computes the `Features` of images and proposes prompts.
    prompt_encoder : PromptEncoder
        Embeds points, boxes and masks in the frame of a window.
    mask_decoder : WindowMaskDecoder
        Decodes one prompt per window.
    """

    def __init__(
        self,
        image_encoder: CompactEncoder,
        prompt_encoder: PromptEncoder,
        mask_decoder: WindowMaskDecoder,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    def decode(self, features: Features, prompts: PromptBatch) -> tuple[Tensor, Tensor]:
        """Decode prompts.

        Returns
        -------
        logits : (N, M, 4T, 4T) tensor
            Mask logits over each prompt's window.
        iou : (N, M) tensor
            Predicted intersection over union.
        """
        # The sine of a large argument is meaningless in half precision.
        with full_precision(prompts.windows.device):
            sparse, dense = self.embed(prompts)
            image_pe = self.prompt_encoder.get_dense_pe()
        embedding, fine, finest = window_features(features, prompts.windows, prompts.image_index)
        return self.mask_decoder.predict_windows(embedding, fine, finest, image_pe, sparse, dense)

    def embed(self, prompts: PromptBatch) -> tuple[Tensor, Tensor]:
        """Embed prompts for the decoder, in single precision.

        Returns
        -------
        sparse : (N, P, D) tensor
            Tokens of points and boxes.
        dense : (N, D, T, T) tensor
            Embedding of the previous mask at each token of the window.
        """
        points = window_points(prompts.windows, prompts.points)
        n = points.shape[0]
        encoder = self.prompt_encoder
        labels = prompts.labels
        sparse = encoder._embed_points(points, labels, pad=False)
        if prompts.boxes is not None:
            has_box = ~prompts.boxes.isnan().any(dim=1)
            corners = window_points(prompts.windows, prompts.boxes.nan_to_num().view(n, 2, 2))
            box = encoder._embed_boxes(corners.view(n, 4))
            no_point = encoder.not_a_point_embed.weight.expand_as(box)
            sparse = torch.cat([sparse, torch.where(has_box[:, None, None], box, no_point)], dim=1)
        if prompts.mask_logits is not None:
            dense = encoder._embed_masks(prompts.mask_logits)
        else:
            dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(n, -1, TOKENS, TOKENS)
        return sparse, dense


def build_compact(dim: int = 128) -> CompactSam:
    """A compact SAM with random weights."""
    decoder = WindowMaskDecoder(
        transformer_dim=dim,
        transformer=TwoWayTransformer(depth=2, embedding_dim=dim, num_heads=4, mlp_dim=4 * dim),
        num_multimask_outputs=3,
        iou_head_hidden_dim=dim,
    )
    prompts = PromptEncoder(
        embed_dim=dim,
        image_embedding_size=(TOKENS, TOKENS),
        input_image_size=(MASK_SIZE, MASK_SIZE),
        mask_in_chans=16,
    )
    return CompactSam(CompactEncoder(dim), prompts, decoder)


def channels_last(model: CompactSam) -> CompactSam:
    """The same model with its kernels in the layout that processors convolve fastest."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model
