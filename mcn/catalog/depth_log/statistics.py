"""Statistics of the crystals and tiles of one interval, with their uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcn.catalog.depth_log.bias import edge_weights, resolvable_diameter, whole_diameters
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
from mcn.catalog.depth_log.uncertainty import (
    FEW_TILES,
    WeightedQuantiles,
    ratio_replicates,
    sum_by_tile,
    t_intervals,
)

Floats = NDArray[np.float64]

_FOLK_WARD: Final = (0.05, 0.16, 0.84, 0.95)
_AT_LEAST_ONE: Final = "mean_aspect_ratio"


@dataclass(frozen=True, eq=False)
class IntervalSample:
    """The tiles of an interval and their crystals.

    Parameters
    ----------
    tiles : mapping of str to (T,) float array
        Columns of `tiles`; NaN is unknown.
    crystals : mapping of str to (N,) array
        Columns of `crystals`; `shape` as the number of the shape, `is_euhedral` as 1, 0 or NaN.
    tile : (N,) int array
        Index of each crystal's tile.
    shapes : tuple of str
    """

    tiles: Mapping[str, NDArray[Any]]
    crystals: Mapping[str, NDArray[Any]]
    tile: NDArray[np.intp]
    shapes: tuple[str, ...]

    @property
    def n_tiles(self) -> int:
        """Number of tiles."""
        return len(self.tiles["depth_m"])


@dataclass(frozen=True, eq=False)
class _Sizes:
    """Quantiles of sizes, whose shares of smaller crystals are among the ratios."""

    prefix: str
    quantiles: WeightedQuantiles
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


def interval_statistics(sample: IntervalSample, seed: int = 0) -> dict[str, Any]:
    """All columns of a depth log for one interval, but for its depths and failed tiles.

    NaN is unknown.
    """
    crystals, tiles = sample.crystals, sample.tiles
    count = len(sample.tile)
    weights = edge_weights(
        crystals["bbox_w"],
        crystals["bbox_h"],
        tiles["width"][sample.tile],
        tiles["height"][sample.tile],
        crystals["touches_edge"],
    )
    ratios = _Ratios()
    one = np.ones(count)
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
    statistics: dict[str, Any] = {
        "n_tiles": sample.n_tiles,
        "n_crystals": count,
        "few_tiles": sample.n_tiles < FEW_TILES,
        "resolvable_diameter_um": resolvable_diameter(tiles["pixel_size_um"]),
    }
    _resolve(statistics, ratios, sample, seed)
    low = LOW + _AT_LEAST_ONE
    statistics[low] = float(np.maximum(1.0, statistics[low]))
    return statistics


def _resolve(
    statistics: dict[str, Any], ratios: _Ratios, sample: IntervalSample, seed: int
) -> None:
    """Work out the ratios that were collected, their intervals, and what depends on them."""
    numerators, denominators = ratios.sums()
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = numerators.sum(axis=0) / denominators.sum(axis=0)
    replicates = ratio_replicates(numerators, denominators, seed)
    is_share = np.array([not _is_size(name) for name in ratios.names], dtype=np.bool_)
    low, high = t_intervals(estimate, replicates, sample.n_tiles, is_share, len(sample.tile))
    _put(statistics, ratios.names, estimate, low, high)
    levels = list(QUANTILES.values())
    for sizes in ratios.sizes:
        at, names = sizes.quantiles.at, [sizes.prefix + name for name in QUANTILES]
        low_share, high_share = low[sizes.shares], high[sizes.shares]
        _put(
            statistics,
            names,
            at(levels),
            _known(at, low_share[: len(levels)]),
            _known(at, high_share[: len(levels)]),
        )
        spread = slice(sizes.shares.start + len(levels), sizes.shares.stop)
        sorting = _inclusive_deviation(at(_FOLK_WARD))[None]
        again = sizes.quantiles.replicates_of(_FOLK_WARD, estimate[spread], replicates[:, spread])
        ends = t_intervals(
            sorting, _inclusive_deviation(again)[:, None], sample.n_tiles, np.array([False])
        )
        _put(statistics, [f"{sizes.prefix}{SIZES[-1]}"], sorting, *ends)


def _is_size(name: str | None) -> bool:
    return name is not None and (name.endswith("_um") or name == _AT_LEAST_ONE)


def _known(at: Callable[[Floats], Floats], shares: Floats) -> Floats:
    return np.where(np.isnan(shares), np.nan, at(np.nan_to_num(shares)))


def _put(
    statistics: dict[str, Any],
    names: Sequence[str | None],
    estimate: Floats,
    low: Floats,
    high: Floats,
) -> None:
    for prefix, values in (("", estimate), (LOW, low), (HIGH, high)):
        for name, value in zip(names, values.tolist(), strict=True):
            if name is not None:
                statistics[prefix + name] = value


def _add_fractions(ratios: _Ratios, sample: IntervalSample, weights: Floats, prefix: str) -> None:
    n_tiles, n_shapes = sample.n_tiles, len(sample.shapes)
    cell = sample.tile * n_shapes + sample.crystals["shape"]
    of_shape = np.asarray(np.bincount(cell, weights, n_tiles * n_shapes), np.float64)
    of_shape = of_shape.reshape(n_tiles, n_shapes)
    names = [prefix + name for name in fractions(sample.shapes)]
    ratios.add(names[:-1], of_shape, of_shape.sum(axis=1, keepdims=True))
    _add_mean(ratios, names[-1], sample.crystals["is_euhedral"], weights, sample)


def _add_mean(
    ratios: _Ratios, name: str, values: Floats, weights: Floats, sample: IntervalSample
) -> None:
    """The weighted mean of the values that are known."""
    known = np.isfinite(values)
    tile, weights = sample.tile[known], weights[known]
    ratios.add(
        [name],
        sum_by_tile(values[known] * weights, tile, sample.n_tiles)[:, None],
        sum_by_tile(weights, tile, sample.n_tiles)[:, None],
    )


def _add_sizes(
    ratios: _Ratios, sample: IntervalSample, diameter: Floats, weights: Floats, prefix: str
) -> None:
    mean, by_area = (prefix + name for name in SIZES[:2])
    _add_mean(ratios, mean, diameter, weights, sample)
    _add_mean(ratios, by_area, diameter, weights * np.nan_to_num(diameter) ** 2, sample)
    known = np.isfinite(diameter)
    sizes = WeightedQuantiles(diameter[known], sample.tile[known], sample.n_tiles, weights[known])
    below, all_of_tile = sizes.below(sizes.at([*QUANTILES.values(), *_FOLK_WARD]))
    first = len(ratios.names)
    ratios.add([None] * below.shape[1], below, all_of_tile)
    ratios.sizes.append(_Sizes(prefix, sizes, slice(first, len(ratios.names))))


def _inclusive_deviation(quantiles: Floats) -> Floats:
    """Folk and Ward's inclusive graphic standard deviation in phi units, of (…, 4) quantiles."""
    phi5, phi16, phi84, phi95 = np.moveaxis(np.log2(quantiles), -1, 0)
    return np.asarray((phi84 - phi16) / 4 + (phi95 - phi5) / 6.6)
