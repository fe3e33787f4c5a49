from dataclasses import replace

import pytest
import torch

from mcn.segment.modeling.compact_sam import CompactSam, PromptBatch, build_compact
from mcn.segment.modeling.image_encoder import Features
from mcn.segment.modeling.mask_decoder import MASK_SIZE, square_windows
from mcn.segment.modeling.window_decoder import WindowDecoder


@pytest.fixture(scope="module")
def model() -> CompactSam:
    torch.manual_seed(0)
    model = build_compact(32).eval().requires_grad_(False)
    for parameter in model.mask_decoder.parameters():  # biases and norms that affect the output
        if parameter.dim() == 1:
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def features(images: int = 2, height: int = 192, width: int = 256) -> Features:
    def at(stride: int, channels: int) -> torch.Tensor:
        shape = (images, channels, height // stride, width // stride)
        return torch.randn(shape).contiguous(memory_format=torch.channels_last)

    return Features(at(8, 32), at(4, 8), at(2, 4), at(4, 6))


def prompts(count: int = 7, images: int = 2, clicks: int = 1) -> PromptBatch:
    """Boxes of all sizes, some of them beyond the image's border."""
    centres, sides = 256 * torch.rand(count, 2), 8 + 500 * torch.rand(count, 2) ** 3
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    return PromptBatch(
        windows=square_windows(boxes, 1.5),
        image_index=torch.arange(count) % images,
        points=centres[:, None] + 5 * torch.randn(count, clicks, 2),
        labels=torch.randint(-1, 2, (count, clicks)),
        boxes=boxes,
    )


@pytest.mark.parametrize("clicks", [1, 3])
@pytest.mark.parametrize("corrected", [False, True])
def test_outputs_match_the_model(model: CompactSam, clicks: int, corrected: bool) -> None:
    batch, encoded = prompts(clicks=clicks), features()
    if corrected:
        earlier = torch.randn(len(batch.windows), 1, MASK_SIZE, MASK_SIZE)
        unboxed = torch.full_like(batch.boxes[:1], torch.nan)
        batch = replace(batch, mask_logits=earlier, boxes=torch.cat([unboxed, batch.boxes[1:]]))
    expected, expected_iou = model.decode(encoded, batch)
    decoder = WindowDecoder(model, torch.float32)
    logits, iou, index = decoder.decode(decoder.prepare(encoded, batch.windows), batch)
    torch.testing.assert_close(logits, expected[:, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(iou, expected_iou[:, 0].clamp(0, 1), atol=1e-5, rtol=1e-4)
    assert index.tolist() == list(range(len(batch.windows)))


def test_half_precision_gives_the_same_masks(model: CompactSam) -> None:
    batch, encoded = prompts(20), features()
    expected, _ = model.decode(encoded, batch)
    decoder = WindowDecoder(model, torch.bfloat16)
    logits, _, _ = decoder.decode(decoder.prepare(encoded, batch.windows), batch)
    assert ((logits > 0) != (expected[:, 0] > 0)).float().mean() < 0.03


def test_masks_of_low_predicted_iou_are_not_computed(model: CompactSam) -> None:
    batch, encoded = prompts(9), features()
    decoder = WindowDecoder(model, torch.float32)
    shared = decoder.prepare(encoded, batch.windows)
    everything, all_iou, _ = decoder.decode(shared, batch)
    least = float(all_iou.median())
    logits, iou, index = decoder.decode(shared, batch, least)
    assert index.tolist() == torch.nonzero(all_iou >= least)[:, 0].tolist()
    torch.testing.assert_close(iou, all_iou[index])
    torch.testing.assert_close(logits, everything[index], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("count", "least"), [(0, -1.0), (3, 2.0)])
def test_without_prompts_or_confident_masks_there_are_none(
    model: CompactSam, count: int, least: float
) -> None:
    batch, encoded = prompts(count), features()
    decoder = WindowDecoder(model)
    logits, iou, index = decoder.decode(decoder.prepare(encoded, batch.windows), batch, least)
    assert logits.shape == (0, MASK_SIZE, MASK_SIZE)
    assert len(iou) == len(index) == 0
