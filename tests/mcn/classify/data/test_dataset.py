"""Labelled crops and their labels stay aligned."""

import numpy as np

from mcn.classify.data.dataset import (
    Examples,
    concatenate_examples,
    render_examples,
    tile_examples,
)
from mcn.mask import masks_from_labels
from mcn.taxonomy import Taxonomy


def test_rendered_examples_are_reproducible_and_have_every_field() -> None:
    progress: list[int] = []
    first = render_examples(
        3, 5, per_tile=6, copies=1, height=128, width=160, on_tile=lambda: progress.append(1)
    )
    again = render_examples(3, 5, per_tile=6, copies=1, height=128, width=160)
    assert len(progress) == 3
    assert np.array_equal(first.crops, again.crops)
    assert np.array_equal(first.classes, again.classes)
    assert (np.bincount(first.groups) <= 12).all()
    assert first.perturbed.mean() == 0.5
    assert ((first.visible > 0) & (first.visible <= 1)).all()
    assert len(concatenate_examples([])) == 0


def numbered(count: int, taxonomy: Taxonomy) -> Examples:
    """Examples whose fields all contain their row number."""
    rows = np.arange(count)
    crops = np.broadcast_to(rows[:, None, None], (count, 64, 64)).astype(np.uint8)
    return Examples(crops, rows, rows, rows.astype(np.float32), rows % 2 == 1, taxonomy)


def test_rows_are_taken_and_joined_with_all_their_fields() -> None:
    coins = Taxonomy({"round": "smooth", "square": "edged"})
    examples = numbered(6, coins)
    by_number, by_mask = examples.take(np.array([4, 1])), examples.take(examples.classes < 2)
    joined = concatenate_examples([by_number, by_mask])
    assert len(joined) == 4
    assert joined.taxonomy == coins
    for field in (joined.crops[:, 0, 0], joined.classes, joined.groups, joined.visible):
        assert field.tolist() == [4, 1, 0, 1]
    assert joined.perturbed.tolist() == [False, True, False, True]


def test_true_masks_of_a_tile_come_before_their_copies() -> None:
    labels = np.zeros((90, 120), np.uint8)
    labels[10:40, 10:50], labels[50:80, 60:100] = 1, 2
    examples = tile_examples(
        np.where(labels, 180, 20).astype(np.uint8),
        masks_from_labels(labels),
        ["spherical", "rhombic"],
        7,
        visible=np.array([0.5, 1.0], np.float32),
        copies=2,
        rng=np.random.default_rng(0),
    )
    assert examples.classes.tolist() == [3, 0] * 3
    assert examples.visible.tolist() == [0.5, 1.0] * 3
    assert examples.perturbed.tolist() == [False, False, True, True, True, True]
    assert set(examples.groups.tolist()) == {7}
