"""Folders give training images and held-out pairs, and these give batches."""

from dataclasses import fields, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mcn.segment.dataset import DataError, list_pairs
from mcn.segment.training.batches import check_patterns, collate, read_folders, stream_batches
from mcn.segment.training.samples import LabelledImage, Sample, SampleSettings, samples
from mcn.segment.training.settings import SegmenterTrainSettings

SETTINGS = SegmenterTrainSettings(batch=2, sample=SampleSettings(size=64, prompts=3), workers=0)
CPU = torch.device("cpu")


def drawn(seed: int) -> LabelledImage:
    """Two squares in an image of 96×80."""
    labels = np.zeros((80, 96), np.int32)
    labels[10:40, 10:40], labels[30:70, 50:90] = 1, 2
    noise = np.random.default_rng(seed).integers(0, 40, labels.shape)
    return LabelledImage((noise + 180 * (labels > 0)).astype(np.uint8), labels)


def write(folder: Path, images: int) -> Path:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(images):
        image = drawn(number)
        masks = Image.fromarray(image.labels.astype(np.uint16))
        Image.fromarray(image.pixels).save(folder / "images" / f"{number}.png")
        masks.save(folder / "masks" / f"{number}.png")
    return folder


def test_images_are_either_trained_on_or_held_out(tmp_path: Path) -> None:
    folders = [write(tmp_path / "a", 6), write(tmp_path / "b", 3)]
    sources, held_out = read_folders(folders, max_images=1)
    assert [len(pairs) for pairs in held_out] == [1, 1]
    assert all(len(images) >= 2 for images in sources)
    for images, pairs in zip(sources, held_out, strict=True):
        for pair in pairs:
            image, _ = pair.read()
            assert not any(np.array_equal(image, other.pixels) for other in images)


def test_a_folder_named_twice_counts_twice(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", 6), write(tmp_path / "b", 3)
    sources, held_out = read_folders([a, b, a], max_images=9)
    assert [len(images) for images in sources] == [4, 2, 4]
    assert sources[0] is sources[2]
    assert [len(pairs) for pairs in held_out] == [2, 1]


def test_incomplete_images_are_named_by_patterns(tmp_path: Path) -> None:
    (images,), (held_out,) = read_folders([write(tmp_path / "a", 12)], 9, ["1*", "4"])
    complete = [image.complete for image in images]
    names = sorted(map(str, range(12)))
    incomplete = [name.startswith("1") or name == "4" for name in names]
    assert complete == [not flag for i, flag in enumerate(incomplete) if i % 5]
    others = [name for name, flag in zip(names[::5], incomplete[::5], strict=True) if not flag]
    assert [pair.name for pair in held_out] == others


def test_a_pattern_that_fits_no_image_is_named(tmp_path: Path) -> None:
    pairs = list_pairs(write(tmp_path / "a", 12))
    check_patterns(["1*", "4", "4.png"], pairs)
    for pattern in ("12", "Basalt*", "4.tif"):
        with pytest.raises(DataError, match=r": no image has this name; check --incomplete"):
            check_patterns(["1*", pattern], pairs)


def test_some_held_out_image_must_be_complete(tmp_path: Path) -> None:
    folders = [write(tmp_path / "a", 2), write(tmp_path / "b", 6)]
    sources, held_out = read_folders(folders, 9, ["0"])
    assert [len(images) for images in sources] == [1, 4]
    assert [[pair.name for pair in pairs] for pairs in held_out] == [["5"]]
    with pytest.raises(DataError, match=r"no held-out image .* name fewer images"):
        read_folders(folders, 9, ["*"])


def test_a_single_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="single image cannot be used for both"):
        read_folders([write(tmp_path / "a", 1)], max_images=1)


def test_an_unreadable_held_out_file_is_reported_before_training(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", 5)
    ((pair, *_),) = read_folders([folder], max_images=9)[1]
    (folder / "masks" / f"{pair.name}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=pair.name):
        read_folders([folder], max_images=9)


def test_a_batch_has_every_field_of_its_samples() -> None:
    drawn_samples = list(islice(samples([[drawn(0)]], SETTINGS.sample, 0), 3))
    batch = collate(drawn_samples)
    assert batch.keys() == {field.name for field in fields(Sample)}
    for name, tensor in batch.items():
        for row, sample in zip(tensor, drawn_samples, strict=True):
            assert np.array_equal(row.numpy(), getattr(sample, name), equal_nan=True)


def test_a_resumed_training_has_new_samples_and_a_repeated_one_the_same() -> None:
    def first_image(settings: SegmenterTrainSettings, first_step: int) -> torch.Tensor:
        batch = next(stream_batches([[drawn(0)], [drawn(1)]], settings, first_step, CPU))
        assert batch["image"].shape == (2, 64, 64)
        return batch["image"]

    start = first_image(SETTINGS, 0)
    assert torch.equal(start, first_image(SETTINGS, 0))
    assert not torch.equal(start, first_image(SETTINGS, 7))
    assert not torch.equal(start, first_image(replace(SETTINGS, seed=1), 0))
