"""Splits examples and draws training batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mcn.classify.data.dataset import Examples, ExamplesError


def split_examples(
    examples: Examples, held_out: float, seed: int, *, is_learnt: bool = False
) -> tuple[Examples, Examples]:
    """Split examples by group, with about the same class frequencies on both sides.

    Parameters
    ----------
    examples : Examples
    held_out : float
        Share of the groups that are held out.
    seed : int
        Seed of the split.
    is_learnt : bool
        Whether the classifier knows the shapes already, and learns more of one rock. Then shapes
        may be missing, and single crystals are split where there are too few groups.

    Raises
    ------
    ExamplesError
        If a shape is missing, or there are too few groups or crystals.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    shapes = examples.taxonomy.shapes
    counts = np.bincount(examples.classes, minlength=len(shapes))
    missing = [shape for shape, count in zip(shapes, counts, strict=True) if not count]
    if missing and not is_learnt:
        raise ExamplesError(
            f"the training data have no {' and no '.join(missing)} crystals; add some, because "
            "a classifier cannot learn a shape without examples"
        )
    folds = max(2, round(1 / held_out))
    groups, count = examples.groups, len(np.unique(examples.groups))
    if count < folds and is_learnt:
        groups, count = np.arange(len(examples)), len(examples)
    if count < folds:
        kind = "crystals" if is_learnt else "micrographs"
        raise ExamplesError(
            f"the training data come from {count} {kind}, too few to hold out a share of "
            f"{held_out:g}; add crystals of at least {folds} {kind}"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Some shapes have fewer crystals than there are folds.
        warnings.simplefilter("ignore", UserWarning)
        train_rows, held_out_rows = next(splitter.split(examples.crops, examples.classes, groups))
    return examples.take(train_rows), examples.take(held_out_rows)


def draw_batches(
    examples: Examples, steps: int, batch: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Draw random batches: (batch, 1, 64, 64) float crops, 0 to 255, and (batch,) classes.

    All classes are equally likely. Within a class, crystals are drawn in proportion to their
    visible share, because little can be learned from slivers.
    """
    classes = torch.from_numpy(examples.classes)
    weights = torch.from_numpy(examples.visible).double()
    weights = weights / torch.bincount(classes, weights)[classes]
    rows = torch.multinomial(weights, steps * batch, replacement=True, generator=generator)
    for batch_rows in rows.reshape(steps, batch):
        yield (
            torch.from_numpy(examples.crops[batch_rows.numpy()])[:, None].float(),
            classes[batch_rows],
        )
