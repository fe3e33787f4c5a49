import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mcn.mask import masks_from_labels
from mcn.segment.candidates import Candidates, GeneratorSettings
from mcn.segment.decoder import MASK_SIZE
from mcn.segment.evaluate import match, paint
from mcn.segment.resolve import resolve

SETTINGS = GeneratorSettings()


def discs(circles: list[tuple[float, float, float]], scores: list[float]) -> Candidates:
    """Perfect low-resolution answers for discs (x, y, radius)."""
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
def test_a_disc_comes_back_at_full_size(x: float, y: float, radius: float) -> None:
    circle = (x, y, radius)
    (mask,) = resolve(discs([circle], [0.9]), 0, (120, 120), SETTINGS)
    truth = masks_from_labels(disc_labels([circle], 120))
    assert match(truth, [mask], (120, 120)).item() > 0.9


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 96), st.floats(0, 96), st.floats(4, 40), st.floats(0.5, 1)),
        max_size=12,
    )
)
def test_masks_never_overlap_and_are_of_one_piece(
    found: list[tuple[float, float, float, float]],
) -> None:
    from skimage.measure import label

    if not found:
        return
    masks = resolve(discs([c[:3] for c in found], [c[3] for c in found]), 0, (96, 96), SETTINGS)
    assert sum(int(mask.pixels.sum()) for mask in masks) == np.count_nonzero(paint(masks, (96, 96)))
    for mask in masks:
        assert label(mask.pixels, connectivity=1).max() == 1
        assert mask.pixels.sum() >= SETTINGS.min_area_px
        assert mask.pixels.any(axis=0).all() or mask.pixels.any(axis=1).all()
    assert [(m.y, m.x) for m in masks] == sorted((m.y, m.x) for m in masks)


def test_the_better_of_two_duplicates_stays() -> None:
    masks = resolve(discs([(50, 50, 20), (51, 50, 20)], [0.7, 0.9]), 0, (100, 100), SETTINGS)
    assert [mask.predicted_iou for mask in masks] == [pytest.approx(0.9)]


def test_touching_crystals_share_their_border() -> None:
    circles = [(40.0, 50.0, 20.0), (70.0, 50.0, 20.0)]
    masks = resolve(discs(circles, [0.9, 0.8]), 0, (100, 100), SETTINGS)
    assert len(masks) == 2
    assert masks[0].pixels.sum() > masks[1].pixels.sum()
