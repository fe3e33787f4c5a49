"""Polygons around crystals: Feret diameters, areas and corners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Polygons:
    """Closed polygons, one after the other.

    Parameters
    ----------
    x, y : (N,) float arrays
        Vertices in order; the last of a polygon is joined to its first.
    start : (M + 1,) int array
        Polygon m has the vertices from start[m] to start[m + 1].
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    start: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def n_vertices(self) -> NDArray[np.intp]:
        """Number of vertices of each polygon, (M,)."""
        return np.diff(self.start)

    @property
    def owner(self) -> NDArray[np.intp]:
        """Number of the polygon each vertex belongs to, (N,)."""
        return np.repeat(np.arange(len(self)), self.n_vertices)

    @property
    def following(self) -> NDArray[np.intp]:
        """Index of the vertex after each, (N,)."""
        following = np.arange(1, len(self.x) + 1)
        following[self.start[1:] - 1] = self.start[:-1]
        return following


def feret_diameters(hulls: Polygons) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longest and shortest distance of two parallel lines that touch a convex polygon.

    The longest joins two vertices. The shortest has one line along an edge, as with
    rotating calipers [1]_; hulls of masks have so few vertices that each edge is compared
    with each vertex.

    Returns
    -------
    longest, shortest : (M,) float arrays

    References
    ----------
    .. [1] G. T. Toussaint, "Solving geometric problems with the rotating calipers",
       Proc. IEEE MELECON 1983.
    """
    n = hulls.n_vertices
    # All pairs of an edge (or its first vertex) and a vertex of the same polygon.
    n_pairs = n[hulls.owner]
    edge = np.repeat(np.arange(len(hulls.x)), n_pairs)
    first_pair = np.cumsum(n_pairs) - n_pairs
    vertex = np.arange(len(edge)) + np.repeat(hulls.start[:-1][hulls.owner] - first_pair, n_pairs)
    dx, dy = hulls.x[vertex] - hulls.x[edge], hulls.y[vertex] - hulls.y[edge]
    start_pair = np.cumsum(n * n) - n * n
    longest = np.sqrt(np.maximum.reduceat(dx * dx + dy * dy, start_pair))

    along_x = hulls.x[hulls.following] - hulls.x
    along_y = hulls.y[hulls.following] - hulls.y
    length = np.hypot(along_x, along_y)
    away = np.abs(along_x[edge] * dy - along_y[edge] * dx)
    widths = np.maximum.reduceat(away, first_pair) / length
    return longest, np.minimum.reduceat(widths, hulls.start[:-1])


def lattice_areas(hulls: Polygons) -> NDArray[np.int64]:
    """Number of points with integer coordinates in or on convex polygons, (M,).

    Vertices at the very top and bottom must lie between two rows of integers.
    """
    y_from, y_to = hulls.y, hulls.y[hulls.following]
    x_from, x_to = hulls.x, hulls.x[hulls.following]
    upper = np.ceil(np.minimum(y_from, y_to)).astype(np.int64)
    # A row through a vertex belongs to the edge below it.
    n_rows = np.maximum(np.ceil(np.maximum(y_from, y_to)).astype(np.int64) - upper, 0)
    edge = np.repeat(np.arange(len(hulls.x)), n_rows)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows) + upper[edge]
    slope = (x_to[edge] - x_from[edge]) / (y_to[edge] - y_from[edge])
    x = x_from[edge] + (row - y_from[edge]) * slope
    # Rounding must not push a point off the edge it lies on.
    is_right = y_to[edge] > y_from[edge]
    counted = np.where(is_right, np.floor(x + 1e-9) + 1, -np.ceil(x - 1e-9))
    areas = np.bincount(hulls.owner[edge], weights=counted, minlength=len(hulls))
    return np.rint(areas).astype(np.int64)


def count_corners(outlines: Polygons, tolerance: NDArray[np.float64]) -> NDArray[np.intp]:
    """Number of vertices that are left when outlines are simplified, (M,).

    The method of Ramer, Douglas and Peucker [1]_ [2]_: between two vertices that are kept, the
    point farthest from the straight line between them is also kept if it is farther away than
    the tolerance. The first two are the point farthest from the centre and the point farthest
    from that one. If a side is parallel to a line, any of its points may be the farthest.
    Vertices within the tolerance of the line between their neighbours are therefore removed at
    the end, the nearest first.

    Parameters
    ----------
    outlines : Polygons
    tolerance : (M,) float array
        In the unit of the coordinates.

    Returns
    -------
    (M,) int array
        2 if an outline is no thicker than a line.

    References
    ----------
    .. [1] U. Ramer, Computer Graphics and Image Processing 1(3), 1972.
    .. [2] D. H. Douglas, T. K. Peucker, Cartographica 10(2), 1973.
    """
    closed, opposite = _from_farthest(outlines)
    is_kept = np.zeros(len(closed.x), dtype=np.bool_)
    is_kept[closed.start[:-1]] = is_kept[opposite] = True
    # Each point with the kept points on both sides; points are dropped with finished pieces.
    owner = closed.owner
    point = np.arange(len(owner))
    is_behind = point > opposite[owner]
    begin = np.where(is_behind, opposite[owner], closed.start[:-1][owner])
    end = np.where(is_behind, closed.start[1:][owner] - 1, opposite[owner])
    is_between = (point > begin) & (point < end)
    while is_between.any():
        point, begin, end = point[is_between], begin[is_between], end[is_between]
        away = _distance(closed, point, begin, end)
        pieces = np.append(np.flatnonzero(np.diff(begin, prepend=-1)), len(point))
        farthest = _first_maximum(away, pieces)
        is_split = away[farthest] > tolerance[owner[point[farthest]]]
        split = np.repeat(np.where(is_split, point[farthest], -1), np.diff(pieces))
        is_kept[point[farthest[is_split]]] = True
        begin = np.where(point > split, split, begin)
        end = np.where(point > split, end, split)
        is_between = (split >= 0) & (point != split)
    return _without_flat(keep_vertices(closed, is_kept), tolerance).n_vertices


def keep_vertices(polygons: Polygons, is_kept: NDArray[np.bool_]) -> Polygons:
    """Polygons without the vertices that are not kept, (N,)."""
    start = np.concatenate([[0], np.cumsum(is_kept)])[polygons.start]
    return Polygons(polygons.x[is_kept], polygons.y[is_kept], start)


def _without_flat(polygons: Polygons, tolerance: NDArray[np.float64]) -> Polygons:
    """Polygons without vertices within the tolerance of the line between their neighbours."""
    while True:
        point = np.arange(len(polygons.x))
        following = polygons.following
        previous = np.empty_like(following)
        previous[following] = point
        away = _distance(polygons, point, previous, following)
        is_least = (away < away[previous]) & (away <= away[following])
        is_flat = is_least & (away <= tolerance[polygons.owner])
        if not is_flat.any():
            return polygons
        polygons = keep_vertices(polygons, ~is_flat)


def _from_farthest(outlines: Polygons) -> tuple[Polygons, NDArray[np.intp]]:
    """Outlines that begin and end at their farthest point, and the points opposite."""
    n = outlines.n_vertices
    dx, dy = _from_centre(outlines.x, outlines), _from_centre(outlines.y, outlines)
    first = _first_maximum(dx * dx + dy * dy, outlines.start)
    start = np.concatenate([[0], np.cumsum(n + 1)])
    step = np.arange(start[-1]) - np.repeat(start[:-1], n + 1)
    around = (np.repeat(first - outlines.start[:-1], n + 1) + step) % np.repeat(n, n + 1)
    index = np.repeat(outlines.start[:-1], n + 1) + around
    closed = Polygons(outlines.x[index], outlines.y[index], start)
    begin = start[:-1][closed.owner]
    dx, dy = closed.x - closed.x[begin], closed.y - closed.y[begin]
    return closed, _first_maximum(dx * dx + dy * dy, start)


def _from_centre(coordinate: NDArray[np.float64], outlines: Polygons) -> NDArray[np.float64]:
    """Difference from the mean of each polygon, times the number of its vertices.

    Exact for multiples of a half, so that the same one of several equally distant points is
    the first, regardless of the polygon's position.
    """
    sums = np.add.reduceat(coordinate, outlines.start[:-1])
    n = outlines.n_vertices
    return n[outlines.owner] * coordinate - sums[outlines.owner]


def _first_maximum(values: NDArray[np.float64], start: NDArray[np.intp]) -> NDArray[np.intp]:
    """Index of the first greatest value of each polygon, (M,)."""
    greatest = np.repeat(np.maximum.reduceat(values, start[:-1]), np.diff(start))
    candidates = np.flatnonzero(values == greatest)
    return candidates[np.searchsorted(candidates, start[:-1])]


def _distance(
    polygons: Polygons,
    point: NDArray[np.intp],
    begin: NDArray[np.intp],
    end: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Distance of points from the line segments between the points begin and end."""
    x, y = polygons.x, polygons.y
    along_x, along_y = x[end] - x[begin], y[end] - y[begin]
    dx, dy = x[point] - x[begin], y[point] - y[begin]
    square = along_x * along_x + along_y * along_y
    part = (dx * along_x + dy * along_y) / np.where(square > 0, square, 1)
    part = np.minimum(np.maximum(part, 0), 1)
    return np.hypot(dx - part * along_x, dy - part * along_y)
