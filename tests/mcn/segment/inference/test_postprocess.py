from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mcn.mask import masks_from_labels
from mcn.segment.evaluation.metrics import match, paint
from mcn.segment.inference.candidates import Candidates, GeneratorSettings
from mcn.segment.inference.postprocess import (
    full_size,
    smoothed,
    suppress_overlaps,
    upsampling_batches,
)
from mcn.segment.modeling.mask_decoder import MASK_SIZE

SETTINGS = GeneratorSettings()


def discs(circles: list[tuple[float, float, float]], scores: list[float]) -> Candidates:
    """Perfect low-resolution logits for discs (x, y, radius)."""
    xyr = torch.tensor(circles)
    half = 1.5 * xyr[:, 2:]
    windows = torch.cat([xyr[:, :2] - half, xyr[:, :2] + half], dim=1)
    steps = (torch.arange(MASK_SIZE) + 0.5) / MASK_SIZE
    grid = (steps - 0.5)[None] * 2 * half
    distance = torch.hypot(grid[:, None, :], grid[:, :, None])
    quality = torch.tensor(scores)
    return Candidates(
        logits=xyr[:, 2, None, None] - distance,
        windows=windows,
        predicted_iou=quality,
        stability=torch.ones_like(quality),
        scores=quality,
        image_index=torch.zeros(len(circles), dtype=torch.long),
    )


def disc_labels(circles: list[tuple[float, float, float]], size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] + 0.5
    labels = np.zeros((size, size), np.int32)
    for i, (cx, cy, r) in enumerate(circles, start=1):
        labels[np.hypot(x - cx, y - cy) < r] = i
    return labels


@settings(max_examples=40, deadline=None)
@given(st.floats(20, 100), st.floats(20, 100), st.floats(5, 60))
def test_a_disc_is_restored_at_full_size(x: float, y: float, radius: float) -> None:
    circle = (x, y, radius)
    (mask,) = suppress_overlaps(discs([circle], [0.9]), 0, (120, 120), SETTINGS)
    truth = masks_from_labels(disc_labels([circle], 120))
    assert match(truth, [mask], (120, 120)).item() > 0.9


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 96), st.floats(0, 96), st.floats(4, 40), st.floats(0.5, 1)),
        max_size=12,
    )
)
def test_masks_never_overlap_and_have_one_piece(
    discs_and_scores: list[tuple[float, float, float, float]],
) -> None:
    from skimage.measure import label

    if not discs_and_scores:
        return
    masks = suppress_overlaps(
        discs([c[:3] for c in discs_and_scores], [c[3] for c in discs_and_scores]),
        0,
        (96, 96),
        SETTINGS,
    )
    assert sum(int(mask.pixels.sum()) for mask in masks) == np.count_nonzero(paint(masks, (96, 96)))
    for mask in masks:
        assert label(mask.pixels, connectivity=1).max() == 1
        assert mask.pixels.sum() >= SETTINGS.min_area_px
        assert mask.pixels.any(axis=0).all() or mask.pixels.any(axis=1).all()
    assert [(m.y, m.x) for m in masks] == sorted((m.y, m.x) for m in masks)


def test_the_better_of_two_duplicates_is_kept() -> None:
    masks = suppress_overlaps(
        discs([(50, 50, 20), (51, 50, 20)], [0.7, 0.9]), 0, (100, 100), SETTINGS
    )
    assert [mask.predicted_iou for mask in masks] == [pytest.approx(0.9)]


def test_touching_crystals_share_their_border() -> None:
    circles = [(40.0, 50.0, 20.0), (70.0, 50.0, 20.0)]
    masks = suppress_overlaps(discs(circles, [0.9, 0.8]), 0, (100, 100), SETTINGS)
    assert len(masks) == 2
    assert masks[0].pixels.sum() > masks[1].pixels.sum()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 200), st.floats(0, 150), st.floats(3, 120), st.floats(0.5, 1)),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from([1, 3, 7]),
)
def test_masks_do_not_depend_on_the_batch_size(
    discs_and_scores: list[tuple[float, float, float, float]], at_once: int
) -> None:
    candidates = discs([c[:3] for c in discs_and_scores], [c[3] for c in discs_and_scores])
    in_one_batch = suppress_overlaps(candidates, 0, (150, 200), SETTINGS)
    few = suppress_overlaps(candidates, 0, (150, 200), replace(SETTINGS, prompts_per_batch=at_once))
    assert [(m.x, m.y) for m in in_one_batch] == [(m.x, m.y) for m in few]
    for mask, other in zip(in_one_batch, few, strict=True):
        np.testing.assert_array_equal(mask.pixels, other.pixels)


@settings(max_examples=40, deadline=None)
@given(st.floats(-20, 120), st.floats(-20, 120), st.floats(10, 90), st.integers(0, 2**32 - 1))
def test_the_upsampled_box_contains_the_whole_mask(
    x: float, y: float, side: float, seed: int
) -> None:
    """Same as `grid_sample` over the whole image, within the window."""
    logits = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(seed))
    window = torch.tensor([[x, y, x + side, y + side]])
    ((left, top, pixels),) = full_size(logits, window, 100, 110)
    full_mask = np.zeros((100, 110), bool)
    full_mask[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    xs = (torch.arange(110) + 0.5 - window[0, 0]) / side * 2 - 1
    ys = (torch.arange(100) + 0.5 - window[0, 1]) / side * 2 - 1
    grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)[None]
    read = torch.nn.functional.grid_sample(logits[None], grid, align_corners=False)[0, 0].numpy()
    inside = (grid.abs() <= 1).all(dim=-1)[0].numpy()
    clear = inside & (np.abs(read) > 1e-3)
    np.testing.assert_array_equal(full_mask[clear], read[clear] > 0)


def test_a_mask_outside_the_image_is_empty() -> None:
    logits = torch.ones(2, 8, 8)
    windows = torch.tensor([[-30.0, 5.0, -10.0, 25.0], [200.0, 200.0, 220.0, 220.0]])
    for _, _, pixels in full_size(logits, windows, 50, 60):
        assert pixels.size == 0


def test_large_masks_are_upsampled_a_few_at_a_time() -> None:
    small = torch.tensor([[0.0, 0.0, 100.0, 100.0]]).repeat(50, 1)
    assert upsampling_batches(small, (1000, 1000)) == [50]
    large = torch.tensor([[-5000.0, -5000.0, 5000.0, 5000.0]]).repeat(5, 1)
    assert max(upsampling_batches(large, (4096, 4096))) == 1
    assert sum(upsampling_batches(torch.cat([large, small]), (4096, 4096))) == 55
    assert upsampling_batches(small[:0], (10, 10)) == []


GROUND = (100.0, 100.0, 90.0)
CROWD = [(60.0, 60.0, 12.0), (140.0, 60.0, 12.0), (60.0, 140.0, 12.0), (140.0, 140.0, 12.0)]


@pytest.mark.parametrize(
    ("small", "score", "found"),
    [
        (CROWD, 0.6, CROWD),  # about as sure as the ground that hides them
        (CROWD, 0.3, [GROUND]),  # facets of one crystal are less sure
        (CROWD[:3], 0.6, [GROUND]),  # too few
        ([(100.0, 100.0, 60.0)] * 4, 0.6, [GROUND]),  # not small
        (CROWD[:1] * 4, 0.6, [GROUND]),  # one, four times
    ],
)
def test_ground_does_not_hide_a_crowd_of_crystals(
    small: list[tuple[float, float, float]],
    score: float,
    found: list[tuple[float, float, float]],
) -> None:
    candidates = discs([GROUND, *small], [0.7] + [score] * len(small))
    masks = suppress_overlaps(candidates, 0, (200, 200), SETTINGS)
    truth = masks_from_labels(disc_labels(found, 200))
    assert len(masks) == len(match(truth, masks, (200, 200), 0.9)) == len(found)


@settings(max_examples=25)
@given(st.floats(10, 28), st.integers(0, 1000))
def test_smoothing_rounds_the_outline_and_keeps_the_area(radius: float, seed: int) -> None:
    steps = torch.arange(MASK_SIZE) + 0.5 - MASK_SIZE / 2
    distance = torch.hypot(steps[:, None], steps[None])
    noise = torch.randn(distance.shape, generator=torch.Generator().manual_seed(seed))
    ragged = (radius - distance + noise)[None]
    smooth = smoothed(ragged)
    area, smooth_area = ((logits > 0).sum().item() for logits in (ragged, smooth))
    assert smooth_area == pytest.approx(area, rel=0.04)

    def outline(logits: torch.Tensor) -> int:
        inside = logits[0] > 0
        return int((inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum())

    assert outline(smooth) < outline(ragged)
