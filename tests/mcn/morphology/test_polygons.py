"""Measures of polygons match geometry and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from skimage.measure import approximate_polygon, points_in_poly

from mcn.morphology.mask_stack import stack_masks
from mcn.morphology.outline import trace_hulls, trace_outlines
from mcn.morphology.polygons import (
    Polygons,
    count_corners,
    feret_diameters,
    keep_vertices,
    lattice_areas,
)

from .shapes import bitmap_lists, masks_of


def polygons(*lines: list[tuple[float, float]]) -> Polygons:
    x, y = np.array([point for line in lines for point in line], dtype=float).T
    return Polygons(x, y, np.cumsum([0, *map(len, lines)]))


def hulls_of(bitmaps: list[NDArray[np.bool_]]) -> Polygons:
    (stack,) = stack_masks(masks_of(bitmaps))
    return trace_hulls(stack)


def corners_of(shape: Polygons, number: int) -> NDArray[np.float64]:
    chosen = slice(shape.start[number], shape.start[number + 1])
    return np.column_stack([shape.x[chosen], shape.y[chosen]])


SQUARE = [(0.0, 0.5), (4.0, 0.5), (4.0, 4.5), (0.0, 4.5)]
TRIANGLE = [(0.0, -0.5), (3.0, 3.5), (0.0, 3.5)]


def test_vertices_have_their_polygon_and_the_next_vertex() -> None:
    both = polygons(SQUARE, TRIANGLE)
    assert len(both) == 2
    assert both.n_vertices.tolist() == [4, 3]
    assert both.owner.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert both.following.tolist() == [1, 2, 3, 0, 5, 6, 4]
    reduced = keep_vertices(both, np.array([True, False, True, True, True, True, True]))
    assert reduced.n_vertices.tolist() == [3, 3]
    assert reduced.x.tolist() == [0.0, 4.0, 0.0, 0.0, 3.0, 0.0]


def test_diameters_of_a_square_and_a_triangle() -> None:
    longest, shortest = feret_diameters(polygons(SQUARE, TRIANGLE))
    assert longest == pytest.approx([4 * math.sqrt(2), 5.0])
    assert shortest == pytest.approx([4.0, 3 * 4 / 5])


@given(bitmap_lists)
@settings(max_examples=40)
def test_diameters_match_a_rotating_calliper(bitmaps: list[NDArray[np.bool_]]) -> None:
    hulls = hulls_of(bitmaps)
    longest, shortest = feret_diameters(hulls)
    angles = np.linspace(0, np.pi, 721)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    for number in range(len(hulls)):
        spans = np.ptp(corners_of(hulls, number) @ directions, axis=0)
        step = angles[1] * longest[number]
        assert spans.max() <= longest[number] + 1e-9
        assert longest[number] - spans.max() <= step
        assert shortest[number] <= spans.min() + 1e-9
        assert spans.min() - shortest[number] <= step


@given(bitmap_lists)
@settings(max_examples=40)
def test_lattice_areas_count_the_points_inside(bitmaps: list[NDArray[np.bool_]]) -> None:
    hulls = hulls_of(bitmaps)
    for number, area in enumerate(lattice_areas(hulls)):
        corners = corners_of(hulls, number)
        low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        # Points on the line count: a slightly larger hull has no others.
        centre = corners.mean(axis=0)
        inside = points_in_poly(
            np.column_stack([x.ravel(), y.ravel()]), centre + (corners - centre) * (1 + 1e-7)
        )
        assert area == inside.sum()


def test_lattice_areas_of_a_square_and_a_triangle() -> None:
    assert lattice_areas(polygons(SQUARE, TRIANGLE)).tolist() == [5 * 4, 1 + 2 + 2 + 3]


@pytest.mark.parametrize(("tolerance", "corners"), [(0.5, 8), (1.0, 4), (100.0, 2)])
def test_corners_within_the_tolerance_are_dropped(tolerance: float, corners: int) -> None:
    # A square of 20 with its corners cut off, 0.71 from where they were.
    cut = [(1, 0), (19, 0), (20, 1), (20, 19), (19, 20), (1, 20), (0, 19), (0, 1)]
    counted = count_corners(polygons([(float(x), float(y)) for x, y in cut]), np.array([tolerance]))
    assert counted.tolist() == [corners]


@given(bitmap_lists)
@settings(max_examples=40)
def test_no_more_corners_remain_than_with_the_plain_method(
    bitmaps: list[NDArray[np.bool_]],
) -> None:
    (stack,) = stack_masks(masks_of(bitmaps))
    outlines = trace_outlines(stack)
    counted = count_corners(outlines, np.full(len(outlines), 0.75))
    for number in range(len(outlines)):
        line = corners_of(outlines, number)
        distance = np.hypot(*(line - line.mean(axis=0)).T)
        closed = np.roll(line, -int(distance.argmax()), axis=0)
        plain = approximate_polygon(np.vstack([closed, closed[:1]]), 0.75)
        assert 2 <= counted[number] <= max(len(plain), 3)


def test_each_polygon_has_its_own_tolerance() -> None:
    counted = count_corners(polygons(SQUARE, SQUARE), np.array([0.1, 50.0]))
    assert counted.tolist() == [4, 2]
