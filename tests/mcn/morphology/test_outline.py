"""Lines around masks enclose exactly the pixels of the mask."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage.measure import euler_number

from mcn.morphology.mask_stack import MaskStack, stack_masks
from mcn.morphology.outline import trace_hulls, trace_outlines, trace_rings
from mcn.morphology.polygons import Polygons

from .shapes import bitmap_lists, masks_of

EIGHT = np.ones((3, 3), dtype=bool)


def stack_of(*bitmaps: NDArray[np.bool_]) -> MaskStack:
    (stack,) = stack_masks(masks_of(list(bitmaps)))
    return stack


def points(polygons: Polygons, number: int) -> NDArray[np.float64]:
    """Vertices (n, 2) of one polygon as x, y."""
    chosen = slice(polygons.start[number], polygons.start[number + 1])
    return np.column_stack([polygons.x[chosen], polygons.y[chosen]])


def signed_area(line: NDArray[np.float64]) -> float:
    """Positive for a line that runs clockwise as seen, with rows running down."""
    x, y = line.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def pixels_of(stack: MaskStack, number: int) -> NDArray[np.bool_]:
    """The cells of one mask in the whole stack."""
    rows = (stack.owner == number) & stack.cells.any(axis=1)
    return np.asarray(stack.cells & rows[:, None])


@given(bitmap_lists)
@settings(max_examples=40)
def test_hulls_enclose_the_centres_of_pixel_edges(bitmaps: list[NDArray[np.bool_]]) -> None:
    stack = stack_of(*bitmaps)
    hulls = trace_hulls(stack)
    assert len(hulls) == len(stack)
    for number in range(len(stack)):
        y, x = np.nonzero(pixels_of(stack, number))
        middles = np.concatenate(
            [
                np.column_stack([x + dx, y + dy])
                for dx, dy in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))
            ]
        )
        line = points(hulls, number)
        expected = ConvexHull(middles)
        assert np.isclose(signed_area(line), expected.volume)
        corners = {tuple(point) for point in middles[expected.vertices].tolist()}
        assert {tuple(point) for point in line.tolist()} == corners


@given(bitmap_lists)
@settings(max_examples=40)
def test_an_outline_runs_once_around_the_largest_piece(bitmaps: list[NDArray[np.bool_]]) -> None:
    stack = stack_of(*bitmaps)
    outlines = trace_outlines(stack)
    assert len(outlines) == len(stack)
    for number in range(len(stack)):
        line = points(outlines, number)
        pieces, count = ndimage.label(pixels_of(stack, number), EIGHT)
        filled = [ndimage.binary_fill_holes(pieces == piece + 1) for piece in range(count)]
        assert signed_area(line) > 0
        assert np.abs(line - np.roll(line, -1, axis=0)).max() <= 1
        assert len({tuple(point) for point in line.tolist()}) == len(line)
        # The line through the centres of edges cuts off the corners of pixels.
        largest = max(int(area.sum()) for area in filled)
        assert largest / 2 <= signed_area(line) <= largest


@given(bitmap_lists)
@settings(max_examples=40)
def test_each_piece_and_hole_has_one_ring(bitmaps: list[NDArray[np.bool_]]) -> None:
    stack = stack_of(*bitmaps)
    rings = trace_rings(stack)
    lines = [points(rings.lines, number) for number in range(len(rings.lines))]
    assert rings.mask.tolist() == sorted(rings.mask.tolist())
    for number in range(len(stack)):
        pixels = pixels_of(stack, number)
        of_mask = rings.mask == number
        pieces = ndimage.label(pixels, EIGHT)[1]
        assert (rings.is_outer & of_mask).sum() == pieces
        assert (~rings.is_outer & of_mask).sum() == pieces - euler_number(pixels, 2)
    for line, is_outer in zip(lines, rings.is_outer, strict=True):
        assert (signed_area(line) > 0) == is_outer


def test_the_outline_of_a_square_follows_the_edges_of_its_pixels() -> None:
    stack = stack_of(np.ones((3, 3), dtype=bool))
    line = points(trace_outlines(stack), 0)
    assert len(line) == 12
    # The mask begins at row 1 and column 1.
    assert line.min(axis=0).tolist() == [0.5, 0.5]
    assert line.max(axis=0).tolist() == [3.5, 3.5]
    assert signed_area(line) == 9 - 4 / 8


def test_rings_have_points_only_at_bends() -> None:
    pixels = np.ones((9, 12), dtype=bool)
    pixels[3:6, 3:8] = False
    rings = trace_rings(stack_of(pixels))
    assert rings.is_outer.tolist() == [True, False]
    assert rings.lines.n_vertices.tolist() == [8, 8]


def test_pixels_that_touch_at_a_corner_are_one_piece() -> None:
    pixels = np.eye(3, dtype=bool)
    rings = trace_rings(stack_of(pixels))
    assert len(rings.lines) == 1
    assert np.isclose(
        signed_area(points(rings.lines, 0)),
        signed_area(points(trace_outlines(stack_of(pixels)), 0)),
    )
