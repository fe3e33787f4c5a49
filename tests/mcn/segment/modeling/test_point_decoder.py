from typing import Any

import pytest
import torch
from torch import Tensor

from mcn.segment.modeling.point_decoder import PointDecoder


@pytest.fixture(scope="module")
def sam() -> Any:
    """Meta's decoder at a small size, without the image encoder."""
    from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

    class Decoding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prompt_encoder = PromptEncoder(
                embed_dim=32,
                image_embedding_size=(8, 8),
                input_image_size=(128, 128),
                mask_in_chans=4,
            )
            self.mask_decoder = MaskDecoder(
                transformer_dim=32,
                transformer=TwoWayTransformer(depth=2, embedding_dim=32, num_heads=4, mlp_dim=64),
            )

    torch.manual_seed(0)
    sam = Decoding().eval().requires_grad_(False)
    for parameter in sam.mask_decoder.parameters():  # biases and norms that affect the output
        if parameter.dim() == 1:
            parameter.add_(0.3 * torch.randn_like(parameter))
    return sam


def stock(sam: Any, embedding: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Output of `SamPredictor.predict_torch` for the points of each image."""
    answers = []
    for image, image_points in zip(embedding, points, strict=True):
        labels = torch.ones(len(image_points), 1)
        sparse, dense = sam.prompt_encoder((image_points[:, None], labels), None, None)
        place = sam.prompt_encoder.get_dense_pe()
        answers.append(sam.mask_decoder(image[None], place, sparse, dense, multimask_output=True))
    logits, iou = (torch.cat(part) for part in zip(*answers, strict=True))
    return logits.flatten(0, 1), iou.flatten()


@pytest.mark.parametrize("images", [1, 3])
def test_logits_match_metas_decoder(sam: Any, images: int) -> None:
    embedding, points = torch.randn(images, 32, 8, 8), 128 * torch.rand(images, 5, 2)
    expected, expected_iou = stock(sam, embedding, points)
    decoder = PointDecoder(sam, torch.float32)
    logits, iou, index = decoder.decode(decoder.prepare(embedding), points, -torch.inf)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(iou, expected_iou, atol=1e-5, rtol=1e-4)
    assert index.tolist() == list(range(images * 5 * 3))


def test_half_precision_gives_the_same_masks(sam: Any) -> None:
    embedding, points = torch.randn(1, 32, 8, 8), 128 * torch.rand(1, 20, 2)
    expected, expected_iou = stock(sam, embedding, points)
    decoder = PointDecoder(sam, torch.bfloat16)
    logits, iou, _ = decoder.decode(decoder.prepare(embedding), points, -torch.inf)
    assert ((logits > 0) != (expected > 0)).float().mean() < 0.02
    torch.testing.assert_close(iou, expected_iou, atol=0.02, rtol=0.02)


def test_masks_of_low_predicted_iou_are_not_computed(sam: Any) -> None:
    embedding, points = torch.randn(2, 32, 8, 8), 128 * torch.rand(2, 6, 2)
    decoder = PointDecoder(sam, torch.float32)
    images = decoder.prepare(embedding)
    everything, all_iou, _ = decoder.decode(images, points, -torch.inf)
    least = float(all_iou.median())
    logits, iou, index = decoder.decode(images, points, least)
    assert index.tolist() == torch.nonzero(all_iou >= least)[:, 0].tolist()
    torch.testing.assert_close(iou, all_iou[index])
    torch.testing.assert_close(logits, everything[index], atol=1e-5, rtol=1e-5)


def test_without_confident_masks_there_are_none(sam: Any) -> None:
    decoder = PointDecoder(sam)
    logits, iou, index = decoder.decode(
        decoder.prepare(torch.randn(1, 32, 8, 8)), torch.rand(1, 3, 2), torch.inf
    )
    assert logits.shape == (0, 32, 32)
    assert len(iou) == len(index) == 0
