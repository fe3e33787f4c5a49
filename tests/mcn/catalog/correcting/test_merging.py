"""Crystals that are parts of one are merged, and others are not."""

from __future__ import annotations

import numpy as np
import pytest

from mcn.catalog.correcting.merging import are_neighbours, union
from mcn.mask import Mask


def box(x: int, y: int, side: int) -> dict[str, int]:
    """The box of a square crystal."""
    return {"bbox_x": x, "bbox_y": y, "bbox_w": side, "bbox_h": side}


@pytest.mark.parametrize(
    ("crystals", "expected"),
    [
        ([box(10, 20, 40), box(65, 20, 40), box(65, 75, 40)], True),
        ([box(10, 20, 4), box(22, 20, 4)], True),
        ([box(10, 20, 4), box(23, 20, 4)], False),
        ([box(10, 20, 40), box(400, 420, 40)], False),
        ([box(10, 20, 40), box(75, 20, 40)], False),
        ([box(10, 20, 300), box(330, 20, 10)], False),
        ([box(10, 20, 40), box(55, 20, 40), box(200, 20, 40)], False),
    ],
)
def test_parts_of_a_crystal_form_a_chain(crystals: list[dict[str, int]], expected: bool) -> None:
    assert are_neighbours(crystals) is expected
    assert are_neighbours(crystals[::-1]) is expected


def test_a_union_has_the_pixels_of_each() -> None:
    parts = [Mask(10, 20, np.ones((4, 6), bool)), Mask(14, 22, np.ones((4, 6), bool))]
    mask = union(parts)
    assert (mask.x, mask.y, mask.pixels.shape) == (10, 20, (6, 10))
    assert mask.pixels.sum() == 2 * 24 - 2 * 2
