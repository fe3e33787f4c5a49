import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcn.segment.training.samples import (
    UNKNOWN,
    LabelledImage,
    SampleSettings,
    describe,
    make_sample,
    proposal_targets,
)


def scene(seed: int, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for i in range(1, 12):
        cx, cy = rng.uniform(0, size, 2)
        labels[np.hypot(x - cx, y - cy) < rng.uniform(6, 40)] = i
    return (labels > 0).astype(np.uint8) * 120 + 60, labels


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_the_target_of_a_prompt_is_the_crystal_it_touches(seed: int) -> None:
    pixels, labels = scene(seed)
    sample = make_sample(
        LabelledImage(pixels, labels),
        SampleSettings(size=128, prompts=16),
        np.random.default_rng(seed),
    )
    assert sample.image.shape == (128, 128)
    assert abs(float(sample.image.mean())) < 1e-3
    for point, box, window, target in zip(
        sample.points[:, 0], sample.boxes, sample.windows, sample.targets, strict=True
    ):
        assert not (np.isnan(point).all() and np.isnan(box).all())
        assert window[2] - window[0] == pytest.approx(window[3] - window[1], rel=1e-4)
        if not np.isnan(point).any():
            x, y = point.astype(int)
            assert sample.labels[y, x] == target


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_centres_lie_on_their_crystals(seed: int) -> None:
    _, labels = scene(seed)
    objects = describe(labels)
    x, y = objects.centres.astype(int).T
    assert (labels[y, x] == objects.ids).all()
    heat, regress = proposal_targets(labels, objects)
    assert np.count_nonzero(heat == 1) >= 1
    taught = ~np.isnan(regress[0])
    assert taught.sum() >= np.count_nonzero(heat == 1)
    assert (heat[taught] > 0.3).all()


def test_no_crystals_give_no_objects() -> None:
    assert len(describe(np.zeros((64, 64), np.int32)).ids) == 0
    sample = make_sample(
        LabelledImage(np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.int32)),
        SampleSettings(size=64, prompts=4),
        np.random.default_rng(0),
    )
    assert (sample.targets == 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_the_background_of_an_incomplete_image_is_unknown(seed: int) -> None:
    pixels, labels = scene(seed)
    if seed == 0:
        labels[:] = 0
    sample = make_sample(
        LabelledImage(pixels, labels, complete=False),
        SampleSettings(size=128, prompts=16),
        np.random.default_rng(seed),
    )
    assert not (sample.labels == 0).any()
    assert (sample.labels == UNKNOWN).any()
    assert (sample.targets != 0).all()
    crystals = np.unique(sample.labels[sample.labels > 0])
    assert np.isin(sample.targets[sample.targets > 0], crystals).all()
