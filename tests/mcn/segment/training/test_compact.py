"""Targets of the compact segmenter's training, and its trained layers."""

import pytest
import torch

from mcn.segment.modeling.compact_sam import PromptBatch, build_compact
from mcn.segment.modeling.image_encoder import PROPOSAL_STRIDE
from mcn.segment.modeling.mask_decoder import MASK_SIZE
from mcn.segment.training.compact import (
    CompactTask,
    correction_prompts,
    drawn_prompts,
    join_prompts,
    proposed_prompts,
    refit_prompts,
)


def prompts(count: int, start: float = 0.0) -> PromptBatch:
    corners = start + torch.arange(4.0 * count).view(count, 4)
    return PromptBatch(
        windows=torch.tensor([[0.0, 0, 2 * MASK_SIZE, 2 * MASK_SIZE]]).repeat(count, 1) + start,
        image_index=torch.arange(count),
        points=corners[:, None, :2],
        labels=torch.ones(count, 1, dtype=torch.long),
        boxes=corners,
    )


def test_the_first_layers_are_frozen_and_all_others_trained_once() -> None:
    task = CompactTask(build_compact(32), proposed=2, decay=0.9)
    backbone, rest = task.parameter_groups(1e-3)
    assert (backbone["lr"], rest["lr"]) == (5e-4, 1e-3)
    grouped = [id(parameter) for group in (backbone, rest) for parameter in group["params"]]
    learning = {id(p) for p in task.model.parameters() if p.requires_grad}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == learning
    assert not any(p.requires_grad for p in task.model.image_encoder.stem.parameters())


def test_a_sample_without_a_point_has_none() -> None:
    no_point = torch.tensor([torch.nan, torch.nan])
    points = torch.stack([torch.tensor([3.0, 4.0]), no_point]).view(1, 2, 1, 2)
    batch = {
        "windows": torch.rand(1, 2, 4),
        "points": points,
        "boxes": torch.rand(1, 2, 4),
        "targets": torch.tensor([[7, 0]]),
    }
    drawn, targets = drawn_prompts(batch)
    assert targets.tolist() == [7, 0]
    assert drawn.labels.tolist() == [[1], [-1]]
    assert drawn.points[0, 0].tolist() == [3, 4]
    assert drawn.points.isfinite().all()


def test_a_proposals_target_is_the_crystal_under_it() -> None:
    torch.manual_seed(0)
    proposal = torch.full((2, 6, 16, 16), -5.0)
    proposal[:, 2:] = 0.5
    proposal[0, 0, 3, 5] = proposal[1, 0, 10, 2] = 5.0
    labels = torch.zeros(2, 64, 64, dtype=torch.int32)
    labels[0, 8:20, 16:30], labels[1, 36:50, 4:16] = 4, 9
    proposed, targets = proposed_prompts(proposal, labels, 1)
    assert targets.tolist() == [4, 9]
    assert proposed.image_index.tolist() == [0, 1]
    centres = torch.tensor([[5.5, 3.5], [2.5, 10.5]]) * PROPOSAL_STRIDE
    torch.testing.assert_close(proposed.points[:, 0], centres)
    assert proposed.boxes is not None
    assert ((proposed.boxes[:, :2] < centres) & (centres < proposed.boxes[:, 2:])).all()


def test_prompts_are_joined_with_their_targets() -> None:
    first, second = prompts(2), prompts(3, start=100.0)
    joined, targets = join_prompts((first, torch.tensor([1, 2])), (second, torch.tensor([3, 4, 5])))
    assert targets.tolist() == [1, 2, 3, 4, 5]
    for name in ("windows", "image_index", "points", "labels", "boxes"):
        assert torch.equal(getattr(joined, name)[:2], getattr(first, name))
        assert torch.equal(getattr(joined, name)[2:], getattr(second, name))


@pytest.mark.parametrize(("truth", "label"), [(1.0, 1), (0.0, 0)])
def test_a_correction_clicks_on_a_wrong_pixel(truth: float, label: int) -> None:
    """The mask is right except for one square of 8×8 cells."""
    target = torch.full((1, MASK_SIZE, MASK_SIZE), 1.0 - truth)
    target[:, 8:16, 24:32] = truth
    logits = torch.full_like(target, -4.0 if truth else 4.0)
    corrected = correction_prompts(prompts(1), logits, target)
    assert corrected.points.shape == (1, 2, 2)
    assert corrected.labels.tolist() == [[1, label]]
    x, y = corrected.points[0, 1].tolist()  # a cell is two pixels wide
    assert 48 < x < 64
    assert 16 < y < 32
    assert corrected.mask_logits is not None
    assert corrected.mask_logits.shape == (1, 1, MASK_SIZE, MASK_SIZE)


def test_a_mask_is_decoded_again_on_a_window_that_suits_it() -> None:
    """One mask in a corner of its window, one cut off by it, and one without pixels."""
    logits = torch.full((3, MASK_SIZE, MASK_SIZE), -4.0)
    logits[0, 8:16, 8:16] = logits[1, :, 20:] = 4.0
    given = prompts(3)
    again = refit_prompts(given, logits)
    assert torch.equal(again.windows[2], given.windows[2])
    centre = (again.windows[0, :2] + again.windows[0, 2:]) / 2
    assert (centre - 24).abs().max() < 3
    sides = again.windows[:, 2] - again.windows[:, 0]
    assert sides[0] < 50
    assert sides[1] > 2 * MASK_SIZE
    x, y = again.points[0, 0]
    assert 16 <= x < 32
    assert 16 <= y < 32
    assert again.mask_logits is not None
    assert (again.mask_logits[0] > 0).float().mean() > 0.2
