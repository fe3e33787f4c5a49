"""Examples are split by micrograph, and sampled so that all shapes have the same weight."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mcn.classify.data.dataset import Examples, ExamplesError
from mcn.classify.data.sampling import draw_batches, split_examples


def test_crystals_of_a_micrograph_stay_on_one_side() -> None:
    rng = np.random.default_rng(0)
    count = 600
    examples = Examples(
        np.zeros((count, 64, 64), np.uint8),
        rng.integers(0, 4, count),
        rng.integers(0, 40, count),
        np.ones(count, np.float32),
        np.zeros(count, bool),
    )
    train, held_out = split_examples(examples, held_out=0.25, seed=0)
    assert len(train) + len(held_out) == count
    assert not set(train.groups) & set(held_out.groups)
    assert len(held_out) / count == pytest.approx(0.25, abs=0.06)
    assert set(held_out.classes) == {0, 1, 2, 3}


def examples_of(classes: list[int], visible: list[float] | None = None) -> Examples:
    """Examples whose crops contain their row number, each in a separate micrograph."""
    count = len(classes)
    crops = np.broadcast_to(np.arange(count)[:, None, None], (count, 64, 64)).astype(np.uint8)
    return Examples(
        crops,
        np.array(classes),
        np.arange(count),
        np.array(visible or [1.0] * count, np.float32),
        np.zeros(count, bool),
    )


def test_the_same_seed_gives_the_same_split() -> None:
    examples = examples_of([0, 1, 2, 3] * 10)
    first, again = (split_examples(examples, 0.2, seed=3) for _ in range(2))
    for part, same in zip(first, again, strict=True):
        assert np.array_equal(part.groups, same.groups)


def test_missing_shapes_and_too_few_micrographs_are_refused() -> None:
    with pytest.raises(ExamplesError, match="no polyhedral and no spherical crystals; add some"):
        split_examples(examples_of([0, 0, 2, 2]), 0.5, seed=0)
    with pytest.raises(ExamplesError, match=r"4 micrographs, too few .* of at least 10"):
        split_examples(examples_of([0, 1, 2, 3]), 0.1, seed=0)


def test_a_classifier_that_knows_the_shapes_learns_from_what_there_is() -> None:
    """Without a shape, and from two micrographs: crystals are split then."""
    examples = replace(examples_of([0] * 12 + [2] * 2), groups=np.repeat([0, 1], 7))
    train, held_out = split_examples(examples, 0.15, seed=0, is_learnt=True)
    assert (len(train), len(held_out)) == (12, 2)
    with pytest.raises(ExamplesError, match=r"3 crystals, too few .* of at least 7 crystals"):
        split_examples(examples_of([0, 0, 2]), 0.15, seed=0, is_learnt=True)


def test_rare_shapes_are_sampled_as_often_as_common_ones() -> None:
    examples = examples_of([0] * 90 + [1] * 5 + [2] * 4 + [3])
    batches = list(draw_batches(examples, 50, 80, torch.Generator().manual_seed(0)))
    assert len(batches) == 50
    crops, classes = (torch.cat(part) for part in zip(*batches, strict=True))
    assert crops.shape == (4000, 1, 64, 64)
    assert (torch.bincount(classes) / 4000).tolist() == pytest.approx([0.25] * 4, abs=0.03)
    rows = crops[:, 0, 0, 0].long()
    assert torch.equal(torch.from_numpy(examples.classes)[rows], classes)


def test_slivers_are_sampled_rarely_and_hidden_crystals_never() -> None:
    examples = examples_of([0, 0, 0, 1, 2, 3], [1.0, 0.25, 0.0, 1.0, 1.0, 1.0])
    ((crops, _),) = draw_batches(examples, 1, 4000, torch.Generator().manual_seed(0))
    counts = torch.bincount(crops[:, 0, 0, 0].long(), minlength=6).tolist()
    assert counts[2] == 0
    assert counts[1] / counts[0] == pytest.approx(0.25, abs=0.05)
