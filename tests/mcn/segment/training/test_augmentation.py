"""Augmented pictures and their labels stay together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcn.segment.training.augmentation import annotate, crop, degrade, heap_up

SEEDS = st.integers(0, 10_000)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Squares of grey levels that follow from their labels."""
    labels = np.zeros((200, 260), np.int32)
    for i, (y, x) in enumerate([(20, 30), (120, 40), (60, 150), (140, 200)], start=1):
        labels[y : y + 40, x : x + 36] = i
    return (labels * 50).astype(np.uint8), labels


@settings(max_examples=25)
@given(SEEDS, st.sampled_from([32, 96]))
def test_a_crop_shows_its_labels(seed: int, size: int) -> None:
    pixels, labels = scene()
    image, cropped = crop(pixels, labels, size, (0.25, 4.0), np.random.default_rng(seed))
    assert image.shape == cropped.shape == (size, size)
    assert set(np.unique(cropped)) <= set(range(5))
    # Borders are interpolated.
    assert np.mean(np.abs(image - cropped * 50) < 1) > 0.6


@settings(max_examples=25)
@given(SEEDS)
def test_a_heaped_crystal_has_a_label_of_its_own(seed: int) -> None:
    pixels, labels = scene()
    image = pixels[:200, :200].astype(np.float32)
    heap, heaped = heap_up(image, labels[:200, :200], np.random.default_rng(seed))
    assert heap.shape == heaped.shape
    inside = (heaped > 0) & (np.abs(heap - np.round(heap / 50) * 50) < 1)
    originals = labels[:200, :200].max()
    of_copy = heaped > originals
    copied = heaped[inside & of_copy] - originals - 1
    assert (np.round(heap[inside & of_copy] / 50) == copied).all()
    assert (np.round(heap[inside & ~of_copy] / 50) == heaped[inside & ~of_copy]).all()


@settings(max_examples=40)
@given(SEEDS)
def test_what_a_detector_does_leaves_a_picture(seed: int) -> None:
    pixels, _ = scene()
    image = degrade(pixels[:160, :160].astype(np.float32), np.random.default_rng(seed))
    assert image.shape == (160, 160)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    assert image.std() > 0.02


@pytest.mark.parametrize("seed", range(12))
def test_what_is_drawn_over_a_picture_has_no_labels(seed: int) -> None:
    labels = np.ones((128, 128), np.int32)
    grey = np.full((128, 128), 0.5, np.float32)
    drawn, kept = annotate(grey, labels, np.random.default_rng(seed))
    changed = np.abs(drawn - grey) > 0.1
    if (kept == 0).any():
        assert changed[kept == 0].mean() > 0.5
    else:
        assert changed.mean() < 0.5
