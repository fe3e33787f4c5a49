"""Statistics of the crystals and tiles of intervals, with their uncertainty.

All intervals of a log are worked out together: most hold few tiles, and one after the other would
take a millisecond each for little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcn.catalog.depth_log.bias import edge_weights, resolvable_diameters, whole_diameters
from mcn.catalog.depth_log.columns import (
    AREA_FRACTION,
    CORRECTED,
    HIGH,
    LOW,
    MEANS,
    PORES,
    QUANTILES,
    SIZES,
    fractions,
)
from mcn.catalog.depth_log.quantiles import GroupedQuantiles
from mcn.catalog.depth_log.uncertainty import (
    FEW_TILES,
    LEAST_TILES,
    RESAMPLES,
    ratio_replicates,
    sum_by_tile,
    t_intervals,
)

Floats = NDArray[np.float64]

_FOLK_WARD: Final = (0.05, 0.16, 0.84, 0.95)
_AT_LEAST_ONE: Final = "mean_aspect_ratio"
_MOST_REPLICATES: Final = 4_000_000
"""Numbers of resampled statistics in memory at a time."""


@dataclass(frozen=True, eq=False)
class LogSample:
    """The tiles of consecutive intervals and their crystals.

    Parameters
    ----------
    tiles : mapping of str to (T,) float array
        Columns of `tiles`; NaN is unknown.
    crystals : mapping of str to (N,) array
        Columns of `crystals`; `shape` as the number of the shape, `is_euhedral` as 1, 0 or NaN.
    tile : (N,) int array
        Index of each crystal's tile.
    shapes : tuple of str
    first_tile : (I + 1,) int array
        Interval i has the tiles from `first_tile[i]` up to `first_tile[i + 1]`, one at least.
    """

    tiles: Mapping[str, NDArray[Any]]
    crystals: Mapping[str, NDArray[Any]]
    tile: NDArray[np.intp]
    shapes: tuple[str, ...]
    first_tile: NDArray[np.intp]

    @property
    def n_tiles(self) -> int:
        """Number of tiles of all intervals."""
        return len(self.tiles["depth_m"])


@dataclass(frozen=True, eq=False)
class _Sizes:
    """Quantiles of sizes, whose shares of smaller crystals are among the ratios."""

    prefix: str
    quantiles: GroupedQuantiles
    at: Floats
    shares: slice


class _Ratios:
    """Ratios of sums over tiles, collected to be resampled together."""

    def __init__(self) -> None:
        self.names: list[str | None] = []
        self.sizes: list[_Sizes] = []
        self._numerators: list[Floats] = []
        self._denominators: list[Floats] = []

    def add(self, names: Sequence[str | None], numerators: Floats, denominators: Floats) -> None:
        """Add (T, K) ratios; those without a name only serve others."""
        self.names += names
        self._numerators.append(numerators)
        self._denominators.append(np.broadcast_to(denominators, numerators.shape))

    def sums(self) -> tuple[Floats, Floats]:
        """All numerators and denominators, (T, K)."""
        return np.concatenate(self._numerators, axis=1), np.concatenate(self._denominators, axis=1)


def log_statistics(sample: LogSample, seed: int = 0) -> dict[str, NDArray[Any]]:
    """All columns of a depth log, (I,), but for the depths and failed tiles.

    NaN is unknown.
    """
    crystals, tiles, first = sample.crystals, sample.tiles, sample.first_tile
    weights = edge_weights(
        crystals["bbox_w"],
        crystals["bbox_h"],
        tiles["width"][sample.tile],
        tiles["height"][sample.tile],
        crystals["touches_edge"],
    )
    ratios = _Ratios()
    one = np.ones(len(sample.tile))
    _add_fractions(ratios, sample, one, "")
    _add_fractions(ratios, sample, weights * np.nan_to_num(crystals["confidence"]), CORRECTED)
    for name, measure in MEANS.items():
        _add_mean(ratios, name, crystals[measure], one, sample)
    for name in (AREA_FRACTION, PORES):
        known = np.isfinite(tiles[name])
        values = np.where(known, tiles[name], 0.0)[:, None]
        ratios.add([name], values, known[:, None].astype(np.float64))
    diameter = crystals["equivalent_diameter_um"]
    whole = whole_diameters(diameter, crystals["completeness"])
    _add_sizes(ratios, sample, diameter, one, "")
    _add_sizes(ratios, sample, whole, weights, CORRECTED)
    n_tiles = np.diff(first)
    crystals_of_tile = np.bincount(sample.tile, minlength=sample.n_tiles)
    statistics: dict[str, NDArray[Any]] = {
        "n_tiles": n_tiles,
        "n_crystals": np.add.reduceat(crystals_of_tile, first[:-1]),
        "few_tiles": n_tiles < FEW_TILES,
        "resolvable_diameter_um": resolvable_diameters(tiles["pixel_size_um"], first[:-1]),
    }
    _resolve(statistics, ratios, sample, seed)
    low = LOW + _AT_LEAST_ONE
    statistics[low] = np.maximum(1.0, statistics[low])
    return statistics


def _resolve(
    statistics: dict[str, NDArray[Any]], ratios: _Ratios, sample: LogSample, seed: int
) -> None:
    """Work out the ratios that were collected, their intervals, and what depends on them."""
    numerators, denominators = ratios.sums()
    starts = sample.first_tile[:-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = np.add.reduceat(numerators, starts) / np.add.reduceat(denominators, starts)
    low, high = np.full(estimate.shape, np.nan), np.full(estimate.shape, np.nan)
    spreads = {
        sizes.prefix: np.full((3, len(starts), 1), np.nan) for sizes in ratios.sizes
    }  # Value, lower and upper end.
    for sizes in ratios.sizes:
        spreads[sizes.prefix][0] = _inclusive_deviation(sizes.at[:, len(QUANTILES) :])[:, None]
    is_share = np.array([not _is_size(name) for name in ratios.names], dtype=np.bool_)
    for chosen, tiles in _alike_intervals(sample.first_tile, len(ratios.names)):
        count = len(chosen)
        # One product of matrices for all intervals of as many tiles.
        flat = tiles.T
        replicates = ratio_replicates(
            numerators[flat].reshape(len(flat), -1), denominators[flat].reshape(len(flat), -1), seed
        )
        low[chosen], high[chosen] = (
            end.reshape(count, -1)
            for end in t_intervals(
                estimate[chosen].ravel(),
                replicates,
                len(flat),
                np.tile(is_share, count),
                np.repeat(statistics["n_crystals"][chosen], len(ratios.names)),
            )
        )
        replicates = replicates.reshape(RESAMPLES, count, -1)
        for sizes in ratios.sizes:
            spread = slice(sizes.shares.start + len(QUANTILES), sizes.shares.stop)
            shares = replicates[:, :, spread]
            levels = np.clip(np.array(_FOLK_WARD) + estimate[chosen, spread] - shares, 0, 1)
            again = np.where(np.isnan(shares), np.nan, sizes.quantiles.at(levels, chosen))
            own = spreads[sizes.prefix]
            own[1:, chosen, 0] = t_intervals(
                own[0, chosen, 0],
                _inclusive_deviation(again),
                len(flat),
                np.zeros(count, np.bool_),
            )
    _put(statistics, ratios.names, estimate, low, high)
    for sizes in ratios.sizes:
        names = [sizes.prefix + name for name in QUANTILES]
        shares_of = slice(sizes.shares.start, sizes.shares.start + len(QUANTILES))
        ends = (_known(sizes.quantiles, end[:, shares_of]) for end in (low, high))
        _put(statistics, names, sizes.at[:, : len(QUANTILES)], *ends)
        _put(statistics, [f"{sizes.prefix}{SIZES[-1]}"], *spreads[sizes.prefix])


def _alike_intervals(
    first_tile: NDArray[np.intp], n_ratios: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Intervals of equally many tiles, if enough for resamples; indices of their tiles (I, n)."""
    n_tiles = np.diff(first_tile)
    at_once = max(1, _MOST_REPLICATES // (RESAMPLES * n_ratios))
    for number in np.unique(n_tiles[n_tiles >= LEAST_TILES]):
        alike = np.flatnonzero(n_tiles == number)
        for start in range(0, len(alike), at_once):
            chosen = alike[start : start + at_once]
            yield chosen, first_tile[chosen][:, None] + np.arange(number)


def _is_size(name: str | None) -> bool:
    return name is not None and (name.endswith("_um") or name == _AT_LEAST_ONE)


def _known(quantiles: GroupedQuantiles, shares: Floats) -> Floats:
    return np.where(np.isnan(shares), np.nan, quantiles.at(np.nan_to_num(shares)))


def _put(
    statistics: dict[str, NDArray[Any]],
    names: Sequence[str | None],
    estimate: Floats,
    low: Floats,
    high: Floats,
) -> None:
    """Put (I, K) values and their ends under the names of the columns."""
    for prefix, values in (("", estimate), (LOW, low), (HIGH, high)):
        for name, column in zip(names, values.T, strict=True):
            if name is not None:
                statistics[prefix + name] = column


def _add_fractions(ratios: _Ratios, sample: LogSample, weights: Floats, prefix: str) -> None:
    n_tiles, n_shapes = sample.n_tiles, len(sample.shapes)
    cell = sample.tile * n_shapes + sample.crystals["shape"]
    of_shape = np.asarray(np.bincount(cell, weights, n_tiles * n_shapes), np.float64)
    of_shape = of_shape.reshape(n_tiles, n_shapes)
    names = [prefix + name for name in fractions(sample.shapes)]
    ratios.add(names[:-1], of_shape, of_shape.sum(axis=1, keepdims=True))
    _add_mean(ratios, names[-1], sample.crystals["is_euhedral"], weights, sample)


def _add_mean(
    ratios: _Ratios, name: str, values: Floats, weights: Floats, sample: LogSample
) -> None:
    """The weighted mean of the values that are known."""
    known = np.isfinite(values)
    weights = np.where(known, weights, 0.0)
    values = np.where(known, values, 0.0)
    ratios.add(
        [name],
        sum_by_tile(values * weights, sample.tile, sample.n_tiles)[:, None],
        sum_by_tile(weights, sample.tile, sample.n_tiles)[:, None],
    )


def _add_sizes(
    ratios: _Ratios, sample: LogSample, diameter: Floats, weights: Floats, prefix: str
) -> None:
    mean, by_area = (prefix + name for name in SIZES[:2])
    _add_mean(ratios, mean, diameter, weights, sample)
    _add_mean(ratios, by_area, diameter, weights * np.nan_to_num(diameter) ** 2, sample)
    known = np.isfinite(diameter)
    sizes = GroupedQuantiles(diameter[known], sample.tile[known], sample.first_tile, weights[known])
    levels = np.array([*QUANTILES.values(), *_FOLK_WARD])
    at = sizes.at(np.tile(levels, (len(sample.first_tile) - 1, 1)))
    below, all_of_tile = sizes.below(at)
    first = len(ratios.names)
    ratios.add([None] * below.shape[1], below, all_of_tile)
    ratios.sizes.append(_Sizes(prefix, sizes, at, slice(first, len(ratios.names))))


def _inclusive_deviation(quantiles: Floats) -> Floats:
    """Folk and Ward's inclusive graphic standard deviation in phi units, of (…, 4) quantiles."""
    phi5, phi16, phi84, phi95 = np.moveaxis(np.log2(quantiles), -1, 0)
    return np.asarray((phi84 - phi16) / 4 + (phi95 - phi5) / 6.6)
