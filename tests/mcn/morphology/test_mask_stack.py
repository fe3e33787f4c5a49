"""Masks in a stack keep their pixels and stay separate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from scipy import ndimage

from mcn.mask import Mask
from mcn.morphology.mask_stack import stack_masks

from .shapes import bitmap_lists, masks_of


@given(bitmap_lists)
@settings(max_examples=40)
def test_every_mask_is_in_one_stack_with_all_its_pixels(bitmaps: list[NDArray[np.bool_]]) -> None:
    order = []
    for stack in stack_masks(masks_of(bitmaps)):
        order += stack.order.tolist()
        for number, top, height in zip(stack.order, stack.top, stack.height, strict=True):
            pixels = bitmaps[number]
            rows = stack.cells[top : top + height]
            assert np.array_equal(rows[:, 1 : 1 + pixels.shape[1]], pixels)
            assert rows.sum() == pixels.sum()
        assert stack.cells.sum() == sum(bitmaps[number].sum() for number in stack.order)
    assert sorted(order) == list(range(len(bitmaps)))


@given(bitmap_lists)
@settings(max_examples=40)
def test_masks_are_separate_and_rows_have_an_owner(bitmaps: list[NDArray[np.bool_]]) -> None:
    (stack,) = stack_masks(masks_of(bitmaps))
    for edge in (stack.cells[0], stack.cells[-1], stack.cells[:, 0], stack.cells[:, -1]):
        assert not edge.any()
    assert not stack.cells[stack.top - 1].any()
    for position in range(len(stack)):
        rows = slice(stack.top[position], stack.top[position] + stack.height[position])
        assert (stack.owner[rows] == position).all()


@given(bitmap_lists)
@settings(max_examples=40)
def test_the_border_has_the_pixels_that_erosion_removes(
    bitmaps: list[NDArray[np.bool_]],
) -> None:
    (stack,) = stack_masks(masks_of(bitmaps))
    removed = stack.cells & ~ndimage.binary_erosion(stack.cells)
    assert stack.border.tolist() == np.flatnonzero(removed).tolist()


def test_many_masks_are_split_into_stacks_of_bounded_size() -> None:
    rng = np.random.default_rng(0)
    masks = [Mask(0, 0, np.ones(rng.integers(1, 200, 2), dtype=bool)) for _ in range(100)]
    stacks = list(stack_masks(masks))
    assert len(stacks) > 1
    assert max(stack.cells.size for stack in stacks) <= 2**18
    assert sorted(np.concatenate([stack.order for stack in stacks])) == list(range(100))


def test_a_mask_larger_than_a_stack_has_a_separate_one() -> None:
    masks = [Mask(0, 0, np.ones((600, 600), dtype=bool)), Mask(0, 0, np.ones((2, 2), dtype=bool))]
    assert [stack.order.tolist() for stack in stack_masks(masks)] == [[1], [0]]


def test_no_masks_give_no_stack_and_empty_masks_are_named() -> None:
    assert list(stack_masks([])) == []
    with pytest.raises(ValueError, match="mask 1 has no pixels"):
        list(stack_masks(masks_of([np.ones((2, 2), dtype=bool), np.zeros((3, 1), dtype=bool)])))
