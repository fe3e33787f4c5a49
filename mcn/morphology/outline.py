"""The line around a mask: its outline and its convex hull.

Both go through the middles of the pixel edges between crystal and background, so that a
straight side lies where the crystal ends, half a pixel from the centres of its last pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mcn.morphology.mask_stack import MaskStack
from mcn.morphology.polygons import Polygons, keep_vertices

_FAR: Final = 2**40


def trace_hulls(stack: MaskStack) -> Polygons:
    """Convex hull of the middles of the outer pixel edges of each mask, clockwise as seen.

    `skimage.morphology.convex_hull_image` uses the same points.
    """
    is_blank: NDArray[np.bool_] = np.logical_not(stack.cells.any(axis=1))
    first = stack.cells.argmax(axis=1)
    last = stack.cells.shape[1] - 1 - stack.cells[:, ::-1].argmax(axis=1)
    # Coordinates are doubled to keep them integers: the middles of rows are even, the edges
    # between rows odd. An edge belongs to the row above it unless that row is blank.
    y = np.arange(2 * len(is_blank) - 1)
    owner = np.repeat(stack.owner, 2)[:-1]
    owner[1::2] = np.where(is_blank[:-1], stack.owner[1:], stack.owner[:-1])
    west = _bulging(_side(np.where(is_blank, _FAR, first)), y, owner)
    east = _bulging(_side(np.where(is_blank, _FAR, -last)), y, owner)
    x = np.concatenate([-east[0], west[0][::-1]]) / 2
    y2 = np.concatenate([east[1], west[1][::-1]]) / 2
    owners = np.concatenate([east[2], west[2][::-1]])
    order = np.argsort(owners, kind="stable")
    return _without_repeats(x[order], y2[order], owners[order])


def _side(column: NDArray[np.intp]) -> NDArray[np.intp]:
    """Twice the coordinate of the outermost point on each row and on each edge between."""
    side = np.empty(2 * len(column) - 1, dtype=np.intp)
    side[::2] = 2 * column - 1
    side[1::2] = 2 * np.minimum(column[:-1], column[1:])
    return side


def _bulging(
    x: NDArray[np.intp], y: NDArray[np.intp], owner: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Points of each owner that make its side convex towards smaller x, ordered by y.

    A point that does not bulge beyond the line between its neighbours is not a vertex of the
    hull; when none of these points is left, the side is convex.
    """
    keep = x < _FAR
    while not keep.all():
        x, y, owner = x[keep], y[keep], owner[keep]
        dx, dy = np.diff(x), np.diff(y)
        keep = np.ones(len(x), dtype=np.bool_)
        keep[1:-1] = (owner[:-2] != owner[2:]) | (dx[:-1] * dy[1:] < dx[1:] * dy[:-1])
    return x, y, owner


def _without_repeats(
    x: NDArray[np.float64], y: NDArray[np.float64], owner: NDArray[np.intp]
) -> Polygons:
    """Polygons without the repeated points where both sides meet at the top or the bottom."""
    start = np.concatenate([[0], np.cumsum(np.bincount(owner))])
    following = Polygons(x, y, start).following
    keep = (x != x[following]) | (y != y[following])
    start = np.concatenate([[0], np.cumsum(np.bincount(owner[keep]))])
    return Polygons(x[keep], y[keep], start)


def trace_outlines(stack: MaskStack) -> Polygons:
    """Outer outline of the largest piece of each mask, clockwise as seen.

    Pixels that touch by a corner belong together. Holes are ignored.
    """
    y, x, side, following = _edges(stack)
    loop, to_end = _walk(following)
    # The area within a loop follows from its vertical edges alone; holes, which run the other
    # way round, have a negative area.
    signed = np.where(side == 1, x + 1, np.where(side == 3, -x, 0))
    area = np.bincount(loop, weights=signed, minlength=len(loop))
    heads = np.flatnonzero(loop == np.arange(len(loop)))
    owner = stack.owner[y[heads]]
    by_area = np.lexsort([area[heads], owner])
    largest = heads[by_area[np.append(np.diff(owner[by_area]) > 0, True)]]
    # The head of a loop is the farthest from its end.
    start = np.concatenate([[0], np.cumsum(to_end[largest] + 1)])
    chosen = np.flatnonzero(np.isin(loop, largest))
    position = start[1:][stack.owner[y[chosen]]] - 1 - to_end[chosen]
    outline = np.empty_like(chosen)
    outline[position] = chosen
    side = side[outline]
    return Polygons(
        x[outline] + np.array([0.0, 0.5, 0.0, -0.5])[side],
        y[outline] + np.array([-0.5, 0.0, 0.5, 0.0])[side],
        start,
    )


@dataclass(frozen=True, eq=False)
class Rings:
    """Closed lines around every piece of masks and around every hole in them.

    Parameters
    ----------
    lines : Polygons
        Ordered by mask and piece, the outer line of a piece before those of its holes. Outer
        lines run clockwise as seen, those of holes the other way round.
    mask : (R,) int array
        Number of the mask in the stack that each line belongs to.
    is_outer : (R,) bool array
        Whether a line is the outer one of a piece.
    """

    lines: Polygons
    mask: NDArray[np.intp]
    is_outer: NDArray[np.bool_]


def trace_rings(stack: MaskStack) -> Rings:
    """All lines between crystal and background, with points at bends only.

    Pixels that touch by a corner belong together, as in `trace_outlines`, so that lines never
    touch themselves or each other. A pixel is inside exactly if its centre is.
    """
    y, x, side, following = _edges(stack)
    loop, to_end = _walk(following)
    heads = np.flatnonzero(loop == np.arange(len(loop)))
    pieces, _ = ndimage.label(stack.cells, np.ones((3, 3), dtype=np.bool_))
    piece = pieces[y[heads], x[heads]]
    # The line of a piece's first pixel, and so of its first edge, is its outer one.
    by_piece = np.lexsort([heads, piece, stack.owner[y[heads]]])
    heads, piece = heads[by_piece], piece[by_piece]
    rank = np.empty(len(loop), dtype=np.intp)
    rank[heads] = np.arange(len(heads))
    order = np.lexsort([-to_end, rank[loop]])
    side = side[order]
    start = np.concatenate([[0], np.cumsum(to_end[heads] + 1)])
    lines = Polygons(
        x[order] + np.array([0.0, 0.5, 0.0, -0.5])[side],
        y[order] + np.array([-0.5, 0.0, 0.5, 0.0])[side],
        start,
    )
    following = lines.following
    previous = np.empty_like(following)
    previous[following] = np.arange(len(following))
    dx, dy = lines.x[following] - lines.x, lines.y[following] - lines.y
    is_bend = dx[previous] * dy != dx * dy[previous]
    return Rings(
        keep_vertices(lines, is_bend), stack.owner[y[heads]], np.diff(piece, prepend=0) != 0
    )


def _edges(
    stack: MaskStack,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Edges between crystal and background, and which edge comes after each.

    Returns
    -------
    y, x : (E,) int arrays
        The crystal's pixel at the edge.
    side : (E,) int array
        Side of the pixel: 0 top (walked east), 1 right (south), 2 bottom (west), 3 left
        (north), so that the crystal is always on the right.
    following : (E,) int array
        Index of the next edge.
    """
    n_columns = stack.cells.shape[1]
    flat = stack.cells.ravel()
    ahead = np.array([1, n_columns, -1, -n_columns])
    border = stack.border
    is_edge = ~flat[border[:, None] + ahead[[3, 0, 1, 2]]]
    number = np.cumsum(is_edge).reshape(is_edge.shape) - 1
    pixel, side = np.nonzero(is_edge)
    cell = border[pixel]
    straight = cell + ahead[side]
    # Ahead and to the left, across the corner that the edge ends at.
    across = straight + ahead[side - 1]
    turn = np.where(flat[across], -1, np.where(flat[straight], 0, 1))
    after = np.where(turn < 0, across, np.where(turn == 0, straight, cell))
    following = number[np.searchsorted(border, after), (side + turn) % 4]
    y, x = np.divmod(cell, n_columns)
    return y, x, side, following


def _walk(following: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Loop (its lowest index) of each link of closed chains, and links to the loop's end.

    By pointer doubling [1]_: each round looks twice as far ahead as the one before.

    References
    ----------
    .. [1] J. C. Wyllie, "The complexity of parallel computations", Cornell 1979.
    """
    loop = np.arange(len(following))
    jump = following
    while True:
        ahead = np.minimum(loop, loop[jump])
        if np.array_equal(ahead, loop):
            break
        loop, jump = ahead, jump[jump]
    # The chain is cut before its lowest index.
    is_last = following == loop
    jump = np.where(is_last, np.arange(len(following)), following)
    to_end = np.where(is_last, 0, 1)
    while True:
        ahead = to_end + to_end[jump]
        if np.array_equal(ahead, to_end):
            return loop, to_end
        to_end, jump = ahead, jump[jump]
