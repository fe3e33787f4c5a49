"""Tests of `mcn.morphology.roundness`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from mcn.mask import Mask
from mcn.morphology import measure
from mcn.morphology.mask_stack import stack_masks
from mcn.morphology.outline import trace_outlines
from mcn.morphology.roundness import inscribed_radii, smooth_outlines


def rounded_square(diameter: float, rounding: float, turn: float = 0.3) -> NDArray[np.bool_]:
    """A square with corners of a radius that is a share of half its side; 1 is a disc."""
    half = diameter * math.sqrt(math.pi) / 4 if rounding < 1 else diameter / 2
    n = int(1.6 * diameter) + 6
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    u = np.abs(x * math.cos(turn) + y * math.sin(turn))
    v = np.abs(y * math.cos(turn) - x * math.sin(turn))
    straight = half * (1 - rounding)
    return np.hypot(np.maximum(u - straight, 0), np.maximum(v - straight, 0)) <= half * rounding


def roundness(pixels: NDArray[np.bool_]) -> float:
    return measure([Mask(3, 3, pixels)], 900, 900, None)["roundness"].item()


@pytest.mark.parametrize("diameter", [30, 60, 150])
def test_roundness_is_the_radius_of_the_corners(diameter: int) -> None:
    values = [roundness(rounded_square(diameter, share)) for share in (0.02, 0.4, 0.7, 1.0)]
    assert values[:3] == sorted(values[:3])
    # Smoothing rounds what is sharper than the pixels can show.
    assert values[0] < 0.4
    assert values[1:3] == pytest.approx([0.5, 0.7], abs=0.12)
    assert values[3] > 0.7


def test_roundness_does_not_depend_on_place_and_size() -> None:
    small, large = rounded_square(40, 0.5), rounded_square(160, 0.5)
    assert roundness(small) == pytest.approx(roundness(large), abs=0.08)
    assert roundness(small) == pytest.approx(roundness(small.T[::-1].copy()), abs=0.03)


@pytest.mark.parametrize("rounding", [0.02, 0.5, 1.0])
def test_inscribed_circle_is_the_largest_distance_from_the_outline(rounding: float) -> None:
    pixels = np.pad(rounded_square(70, rounding), 2)
    (stack,) = stack_masks([Mask(0, 0, pixels)])
    radius = inscribed_radii(smooth_outlines(trace_outlines(stack))).item()
    assert radius == pytest.approx(ndimage.distance_transform_edt(pixels).max(), rel=0.06)


def test_single_pixels_and_lines_have_a_roundness() -> None:
    for pixels in (np.ones((1, 1), bool), np.ones((1, 40), bool), np.eye(9, dtype=bool)):
        assert 0 < roundness(pixels) <= 1
