from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mcn.segment.samples import (
    DataError,
    SampleSettings,
    describe,
    list_pairs,
    make_sample,
    proposal_targets,
    split_pairs,
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
def test_prompts_ask_for_the_crystal_they_touch(seed: int) -> None:
    pixels, labels = scene(seed)
    sample = make_sample(
        pixels, labels, SampleSettings(size=128, prompts=16), np.random.default_rng(seed)
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


def test_no_crystals_no_objects() -> None:
    assert len(describe(np.zeros((64, 64), np.int32)).ids) == 0
    sample = make_sample(
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64), np.int32),
        SampleSettings(size=64, prompts=4),
        np.random.default_rng(0),
    )
    assert (sample.targets == 0).all()


def test_a_fifth_is_held_out_by_image(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for i in range(10):
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / folder / f"{i}.png")
    train, held_out = split_pairs(list_pairs(tmp_path))
    assert [pair.name for pair in held_out] == ["0", "5"]
    assert not {pair.name for pair in train} & {"0", "5"}


def test_an_image_without_masks_is_named(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "images" / "lost.png")
    with pytest.raises(DataError, match=r"lost\.png"):
        list_pairs(tmp_path)
    with pytest.raises(DataError, match="images/ and masks/"):
        list_pairs(tmp_path / "images")
