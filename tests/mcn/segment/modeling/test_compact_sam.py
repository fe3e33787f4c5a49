"""Prompts are embedded in the frame of their windows, and decoded there."""

from dataclasses import replace

import pytest
import torch

from mcn.segment.modeling.compact_sam import (
    CompactSam,
    PromptBatch,
    build_compact,
    channels_last,
)
from mcn.segment.modeling.mask_decoder import MASK_SIZE, TOKENS


@pytest.fixture(scope="module")
def model() -> CompactSam:
    torch.manual_seed(0)
    return build_compact(32).eval().requires_grad_(False)


def prompts(shift: float = 0.0) -> PromptBatch:
    """A click and a box, a click alone, and a box alone."""
    windows = torch.tensor([[0.0, 0, 64, 64], [10, 20, 50, 60], [-8, 4, 24, 36]]) + shift
    no_box = torch.full((4,), torch.nan)
    return PromptBatch(
        windows=windows,
        image_index=torch.zeros(3, dtype=torch.long),
        points=windows[:, None, :2] + 16,
        labels=torch.tensor([[1], [1], [-1]]),
        boxes=torch.stack([windows[0], no_box, windows[2]]),
    )


def test_masks_lie_on_the_windows_of_their_prompts(model: CompactSam) -> None:
    features = model.image_encoder(torch.randn(1, 1, 96, 128))
    logits, iou = model.decode(features, prompts())
    assert logits.shape == (3, iou.shape[1], MASK_SIZE, MASK_SIZE)
    assert logits.isfinite().all()
    assert iou.isfinite().all()


def test_prompts_are_relative_to_their_window(model: CompactSam) -> None:
    sparse, dense = model.embed(prompts())
    assert dense.shape == (3, 32, TOKENS, TOKENS)
    moved, _ = model.embed(prompts(shift=1024.0))
    torch.testing.assert_close(moved, sparse, atol=1e-3, rtol=1e-3)
    assert sparse.isfinite().all(), "a prompt needs no box"


def test_a_missing_box_has_no_effect(model: CompactSam) -> None:
    sparse, _ = model.embed(prompts())
    other, _ = model.embed(replace(prompts(), boxes=torch.full((3, 4), torch.nan)))
    same = (sparse == other).flatten(1).all(dim=1)
    assert same.tolist() == [False, True, False]


def test_a_previous_mask_changes_the_dense_embedding_only(model: CompactSam) -> None:
    sparse, dense = model.embed(prompts())
    earlier = torch.randn(3, 1, MASK_SIZE, MASK_SIZE)
    same, changed = model.embed(replace(prompts(), mask_logits=earlier))
    assert torch.equal(same, sparse)
    assert changed.shape == dense.shape
    assert not torch.equal(changed, dense)


def test_the_layout_of_kernels_does_not_change_the_results() -> None:
    torch.manual_seed(0)
    model = build_compact(32).eval().requires_grad_(False)
    image = torch.randn(1, 1, 64, 96)
    before = model.image_encoder(image).embedding
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    after = channels_last(model).image_encoder(image).embedding
    torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-3)
    assert all(torch.equal(weights[name], t) for name, t in model.state_dict().items())
