"""Quantiles of the crystals of many intervals at once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_APART: Final = 2.0
"""Shares of an interval are 0 to 1, and those of the next one begin here, so that one sorted list
holds all of them."""


class GroupedQuantiles:
    """Quantiles of crystals' values in each interval of a log, weighted.

    Parameters
    ----------
    values : (N,) float array
        Without NaN.
    tile : (N,) int array
        Index of each crystal's tile.
    first_tile : (I + 1,) int array
        Interval i has the tiles from `first_tile[i]` up to `first_tile[i + 1]`.
    weights : (N,) float array, optional
        0 or more; 1 by default.

    Examples
    --------
    >>> sizes = GroupedQuantiles(np.array([1.0, 3.0, 7.0]), np.array([0, 0, 1]), np.arange(3))
    >>> sizes.at(np.array([[0.5], [0.5]])).tolist()
    [[2.0], [7.0]]
    """

    def __init__(
        self,
        values: Floats,
        tile: NDArray[np.integer],
        first_tile: NDArray[np.integer],
        weights: Floats | None = None,
    ) -> None:
        if weights is not None:
            counted = weights > 0
            values, tile, weights = values[counted], tile[counted], weights[counted]
        n_groups = len(first_tile) - 1
        self._group_of_tile = np.repeat(np.arange(n_groups), np.diff(first_tile))
        group = self._group_of_tile[tile]
        order = np.argsort(values)
        order = order[np.argsort(_short(group[order], n_groups), kind="stable")]
        self._group, self._tile = group[order], np.asarray(tile)[order]
        self._values = np.asarray(values, np.float64)[order]
        self._weights = np.ones(len(order)) if weights is None else weights[order]
        self.counts = np.bincount(group, minlength=n_groups)
        self._keys = self._shares() + _APART * self._group

    def _shares(self) -> Floats:
        """Share of the interval's weight below each value, 0 at the least and 1 at the greatest.

        With equal weights it is k / (N - 1), as in NumPy's and SQL's continuous quantiles.
        """
        ends = np.cumsum(self.counts)
        first = (ends - self.counts)[self._group]
        last = ends[self._group] - 1
        all_before = np.cumsum(self._weights) - self._weights
        before = all_before - all_before[first]
        number = np.arange(len(self._values)) - first
        positions = number * self._weights + (last - first) * before
        with np.errstate(invalid="ignore"):
            return np.where(last > first, positions / positions[last], 0.0)

    def at(self, levels: Floats, chosen: NDArray[np.intp] | None = None) -> Floats:
        """Quantiles at levels from 0 to 1, (…, I, Q); NaN for intervals without crystals.

        Parameters
        ----------
        levels : (…, I, Q) float array
        chosen : (I,) int array, optional
            The intervals that the levels are of; by default all of them.
        """
        if not len(self._values):
            return np.full(levels.shape, np.nan)
        groups = np.arange(len(self.counts)) if chosen is None else chosen
        counts = self.counts[groups][:, None]
        # A single crystal has only the share 0.
        inside = levels * (counts > 1) + _APART * groups[:, None]
        return np.where(counts > 0, np.interp(inside, self._keys, self._values), np.nan)

    def below(self, cuts: Floats) -> tuple[Floats, Floats]:
        """Weight of each tile's crystals up to the sizes of its interval, and of all of them.

        Parameters
        ----------
        cuts : (I, Q) float array

        Returns
        -------
        (T, Q) and (T, 1) float arrays
        """
        ordered = np.sort(cuts, axis=1)
        steps = cuts.shape[1] + 1
        # The step between two cuts that each crystal is in, counted once for all of them.
        step = (self._values[:, None] > ordered[self._group]).sum(axis=1)
        n_tiles = len(self._group_of_tile)
        in_step = np.bincount(self._tile * steps + step, self._weights, n_tiles * steps)
        below: Floats = np.cumsum(in_step.reshape(n_tiles, steps), axis=1)
        place = np.argsort(np.argsort(cuts, axis=1, kind="stable"), axis=1, kind="stable")
        return np.take_along_axis(below, place[self._group_of_tile], axis=1), below[:, -1:]


def _short(numbers: NDArray[np.integer], count: int) -> NDArray[np.integer]:
    """Numbers below a count in a type that is sorted by its digits, in linear time, if possible."""
    return numbers.astype(np.uint16) if count <= np.iinfo(np.uint16).max else numbers
