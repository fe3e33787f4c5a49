"""Batches of training samples, from folders of images with instance masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mcn.segment.dataset import DataError, Pair, list_pairs, split_pairs
from mcn.segment.training.samples import LabelledImage, Sample, samples
from mcn.segment.training.settings import SegmenterTrainSettings


def read_folders(
    folders: Sequence[Path], max_images: int, incomplete: Sequence[str] = ()
) -> tuple[list[list[LabelledImage]], list[list[Pair]]]:
    """The training images of each folder with their labels, and its held-out pairs.

    All files are read here, so that a bad one is reported before the training starts. A folder
    that is named again counts again among the training images.

    Parameters
    ----------
    folders : sequence of Path
        With images and masks.
    max_images : int
        Maximum number of held-out pairs of each folder.
    incomplete : sequence of str
        Names, or patterns with `*`, of images in which not all crystals are labelled; they are
        not among the held-out pairs.

    Raises
    ------
    DataError
        If a folder has a single pair, a file cannot be used, or there is no held-out pair.
    """

    def is_complete(pair: Pair) -> bool:
        return not any(_fits(pattern, pair) for pattern in incomplete)

    images: dict[Path, list[LabelledImage]] = {}
    held_out_pairs = []
    for folder in dict.fromkeys(folders):
        train, held_out = split_pairs(list_pairs(folder))
        if not train:
            raise DataError(
                f"{folder}: a single image cannot be used for both training and evaluation; "
                "add more"
            )
        images[folder] = [LabelledImage(*pair.read(), is_complete(pair)) for pair in train]
        complete = [pair for pair in held_out if is_complete(pair)]
        for pair in complete[:max_images]:
            pair.read()
        if complete:
            held_out_pairs.append(complete[:max_images])
    if not held_out_pairs:
        raise DataError(
            "no held-out image (every fifth is one) has all its crystals labelled; name fewer "
            "images as incomplete"
        )
    return [images[folder] for folder in folders], held_out_pairs


def check_patterns(patterns: Sequence[str], pairs: Sequence[Pair]) -> None:
    """Raise DataError if a name or pattern of incomplete images fits none."""
    for pattern in patterns:
        if not any(_fits(pattern, pair) for pair in pairs):
            raise DataError(f"{pattern}: no image has this name; check --incomplete")


def _fits(pattern: str, pair: Pair) -> bool:
    """Whether a pattern fits an image's file name, with its ending or without."""
    return fnmatchcase(pair.name, pattern) or fnmatchcase(pair.image.name, pattern)


def stream_batches(
    sources: Sequence[Sequence[LabelledImage]],
    settings: SegmenterTrainSettings,
    first_step: int,
    device: torch.device,
) -> Iterator[dict[str, Tensor]]:
    """Endless batches on `device`: the fields of `Sample` with a leading batch axis.

    Parameters
    ----------
    sources : sequence of sequence of LabelledImage
        One sequence per folder; each folder is drawn from equally often.
    settings : SegmenterTrainSettings
        Training settings.
    first_step : int
        Step that the first batch is for; part of the seed, so that a resumed training does
        not see the same samples again.
    device : torch.device
        Where the batches are moved to.
    """
    loader = DataLoader(
        _BatchStream(sources, settings, settings.seed + first_step),
        batch_size=None,
        num_workers=settings.workers,
        prefetch_factor=4 if settings.workers else None,
        pin_memory=device.type == "cuda",
    )
    for batch in loader:
        yield {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def collate(batch: Sequence[Sample]) -> dict[str, Tensor]:
    """Stack samples: every field of `Sample` with a leading batch axis."""
    fields = Sample.__dataclass_fields__
    return {
        name: torch.from_numpy(np.stack([getattr(sample, name) for sample in batch]))
        for name in fields
    }


class _BatchStream(IterableDataset[dict[str, Tensor]]):
    """Endless batches; each worker process draws its own."""

    def __init__(
        self,
        sources: Sequence[Sequence[LabelledImage]],
        settings: SegmenterTrainSettings,
        seed: int,
    ) -> None:
        self.sources, self.settings, self.seed = sources, settings, seed

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        seed = self.seed * 1000 + (worker.id if worker else 0)
        stream = samples(self.sources, self.settings.sample, seed)
        while True:
            yield collate([next(stream) for _ in range(self.settings.batch)])
