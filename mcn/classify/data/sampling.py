"""Which examples are trained on, and how often each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mcn.classify.data.dataset import Examples, ExamplesError


def split_examples(examples: Examples, held_out: float, seed: int) -> tuple[Examples, Examples]:
    """Training and held-out examples: no group on both sides, classes about as frequent.

    Parameters
    ----------
    examples : Examples
    held_out : float
        Share of the groups to hold out.
    seed : int
        Which ones.

    Raises
    ------
    ExamplesError
        If a shape is missing, or there are too few groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    shapes = examples.taxonomy.shapes
    counts = np.bincount(examples.classes, minlength=len(shapes))
    missing = [shape for shape, count in zip(shapes, counts, strict=True) if not count]
    if missing:
        raise ExamplesError(
            f"the training data hold no {' and no '.join(missing)} crystal; add some, because "
            "a classifier cannot learn a shape it never sees"
        )
    folds = max(2, round(1 / held_out))
    groups = len(np.unique(examples.groups))
    if groups < folds:
        raise ExamplesError(
            f"the training data come from {groups} micrographs, too few to hold a share of "
            f"{held_out:g} out; add crystals of at least {folds} micrographs"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    rows, others = next(splitter.split(examples.crops, examples.classes, examples.groups))
    return examples.take(rows), examples.take(others)


def draw_batches(
    examples: Examples, steps: int, batch: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Random batches: (batch, 1, 64, 64) float crops, 0 to 255, and (batch,) classes.

    Every class is equally likely however rare it is in the data; within a class, crystals
    come up in proportion to how much of them can be seen, because slivers teach little.
    """
    classes = torch.from_numpy(examples.classes)
    weights = torch.from_numpy(examples.visible).double()
    weights = weights / torch.bincount(classes, weights)[classes]
    rows = torch.multinomial(weights, steps * batch, replacement=True, generator=generator)
    for chosen in rows.reshape(steps, batch):
        yield torch.from_numpy(examples.crops[chosen.numpy()])[:, None].float(), classes[chosen]
