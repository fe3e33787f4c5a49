"""Tests of `mcn.morphology.contact`."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mcn.mask import Mask
from mcn.morphology import measure, paint_crystals


def square(x: int, y: int, side: int = 10) -> Mask:
    return Mask(x, y, np.ones((side, side), dtype=bool))


def contact(*masks: Mask, size: int = 60) -> NDArray[np.float64]:
    return measure(masks, size, size, None)["contact_fraction"]


def test_a_shared_side_is_a_quarter_of_a_square() -> None:
    assert contact(square(10, 10), square(20, 10)).tolist() == [0.25, 0.25]


@pytest.mark.parametrize(("gap", "expected"), [(0, 0.25), (2, 0.25), (3, 0.0)])
def test_gaps_of_up_to_two_pixels_are_contact(gap: int, expected: float) -> None:
    assert contact(square(10, 10), square(20 + gap, 10))[0] == expected


def test_a_lone_crystal_touches_nothing_and_a_walled_one_everything() -> None:
    assert contact(square(10, 10)).tolist() == [0.0]
    around = [square(x, y) for x in (10, 20, 30) for y in (10, 20, 30)]
    assert contact(*around)[4] == 1.0


def test_the_border_of_the_picture_is_left_out() -> None:
    # Three sides lie inside the picture, one of them at a neighbour.
    assert contact(square(0, 10), square(10, 10))[0] == pytest.approx(1 / 3)
    assert np.isnan(contact(square(0, 0, 60)))[0]


def test_a_bay_is_no_contact_with_oneself() -> None:
    bay = np.ones((20, 20), dtype=bool)
    bay[5:, 9:11] = False
    assert contact(Mask(10, 10, bay)).tolist() == [0.0]


def test_crystals_of_all_widths_are_measured_in_their_own_place() -> None:
    rng = np.random.default_rng(3)
    masks = [square(*rng.integers(0, 50, 2).tolist(), side=int(rng.integers(2, 9))) for _ in "abc"]
    masks += [square(5, 5, 4), square(30, 30, 25), square(9, 5, 4)]
    alone = [contact(*masks)[number] for number in range(len(masks))]
    shuffled = rng.permutation(len(masks))
    assert contact(*(masks[n] for n in shuffled)) == pytest.approx([alone[n] for n in shuffled])


def test_overlapping_crystals_touch() -> None:
    assert (contact(square(10, 10), square(15, 10)) > 0.2).all()


def test_painted_pictures_number_crystals_from_one() -> None:
    painted = paint_crystals([square(0, 0, 2), square(1, 1, 2)], 4, 4)
    assert painted.tolist() == [[1, 1, 0, 0], [1, 2, 2, 0], [0, 2, 2, 0], [0, 0, 0, 0]]
