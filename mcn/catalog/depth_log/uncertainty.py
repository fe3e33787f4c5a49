"""Uncertainty of an interval's statistics, by resampling its tiles.

Crystals of one tile are alike: they come from one chip of rock, in one light and focus. At a
correlation of 0.05 between the crystals of a tile, 240 of them are worth 19 independent ones, and
a fraction to within 5 points needs 21 tiles rather than 384 crystals. The unit that is resampled
is therefore the tile [1]_.

A statistic is a ratio of two sums over tiles (a fraction, a mean, a share below a size), so that
all resamples of all statistics are one product of matrices. The interval is the estimate plus and
minus Student's t times the standard deviation of the resamples, on the logit scale for shares
and the log scale for sizes, where distributions are less skewed. With 8 to 40 tiles it covers
the true value more often than the percentiles of the resamples do, which are too narrow by a
factor that the number of tiles gives [2]_ (`docs/measurements.md`). The interval of a quantile
is that of the share of crystals below it, read off as sizes [3]_.

References
----------
.. [1] A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8.
.. [2] T. C. Hesterberg, "What Teachers Should Know About the Bootstrap", The American
   Statistician 69(4), 2015.
.. [3] R. S. Woodruff, "Confidence Intervals for Medians and Other Position Measures", Journal of
   the American Statistical Association 47, 1952.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mcn.catalog.depth_log.quantiles import GroupedQuantiles

Floats = NDArray[np.float64]
Scale = Literal["share", "size"]

LEVEL: Final = 0.95
RESAMPLES: Final = 1000
FEW_TILES: Final = 8
"""With fewer tiles than this, an interval is itself uncertain: it is given, and flagged."""

LEAST_TILES: Final = 3
"""Two tiles have three different resamples, so that an interval can be anything."""

_MAX_UNITS: Final = 1000
"""More tiles than this are resampled in groups of equal size, to limit memory."""

_ALIKE: Final = 0.05
"""Correlation between crystals of a tile that is assumed where the tiles do not differ at all."""


def resample_tiles(n_tiles: int, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """How often each unit is drawn in each resample: (resamples, units), to be shared.

    Parameters
    ----------
    n_tiles : int
        Units are tiles, or groups of them (`unit_of_tile`).
    seed : int
        The same seed gives the same resamples.
    resamples : int
    """
    return _resample(min(n_tiles, _MAX_UNITS), seed, resamples)


@functools.lru_cache(maxsize=64)
def _resample(n_units: int, seed: int, resamples: int) -> Floats:
    rng = np.random.default_rng([seed, n_units])
    drawn = rng.integers(n_units, size=(resamples, n_units)) if n_units else np.empty((0, 0), int)
    flat = (drawn + np.arange(len(drawn))[:, None] * n_units).ravel()
    counts = np.bincount(flat, minlength=resamples * n_units).astype(np.float64)
    counts = counts.reshape(resamples, n_units)
    counts.flags.writeable = False
    return counts


def unit_of_tile(n_tiles: int) -> NDArray[np.intp]:
    """The unit that each tile is resampled with: itself, or a group if there are many tiles."""
    return np.arange(n_tiles) % _MAX_UNITS if n_tiles > _MAX_UNITS else np.arange(n_tiles)


def sum_by_tile(
    values: Floats | NDArray[np.bool_], tile: NDArray[np.integer], n_tiles: int
) -> Floats:
    """Sum of the crystals' values in each tile: (N,) to (T,), or (N, K) to (T, K).

    Parameters
    ----------
    values : (N,) or (N, K) array
    tile : (N,) int array
        Index of each crystal's tile, 0 to n_tiles - 1.
    n_tiles : int
    """
    if values.ndim == 1:
        return np.bincount(tile, weights=values, minlength=n_tiles).astype(np.float64)
    columns = [np.bincount(tile, weights=column, minlength=n_tiles) for column in values.T]
    return np.column_stack(columns).astype(np.float64) if columns else np.empty((n_tiles, 0))


def ratio_replicates(numerators: Floats, denominators: Floats, seed: int = 0) -> Floats:
    """Ratios of sums over tiles, in each resample of the tiles.

    Parameters
    ----------
    numerators : (T, K) float array
        For each tile and statistic, for example the number of crystals of each shape.
    denominators : (T, K) or (T, 1) float array
        For example the number of all crystals of the tile.
    seed : int

    Returns
    -------
    (RESAMPLES, K) float array
        NaN where the denominator of a resample is 0.

    Examples
    --------
    >>> rhombic = np.array([[10.0], [30.0], [20.0]])
    >>> crystals = np.array([[40.0], [50.0], [60.0]])
    >>> ratio_replicates(rhombic, crystals).shape
    (1000, 1)
    """
    n_tiles = len(numerators)
    counts = resample_tiles(n_tiles, seed)
    if n_tiles > _MAX_UNITS:
        unit = unit_of_tile(n_tiles)
        numerators = sum_by_tile(numerators, unit, _MAX_UNITS)
        denominators = sum_by_tile(denominators, unit, _MAX_UNITS)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios: Floats = (counts @ numerators) / (counts @ denominators)
    return ratios


def ratio_intervals(
    numerators: Floats,
    denominators: Floats,
    scale: Scale | Sequence[Scale] = "share",
    crystals: int | None = None,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """95 % intervals of ratios of sums over tiles.

    Parameters
    ----------
    numerators, denominators, seed
        As in `ratio_replicates`.
    scale : {"share", "size"} or a sequence of them, one per ratio
        "share" for values from 0 to 1, "size" for values above 0.
    crystals : int, optional
        Number of crystals behind shares. A share that is 0 or 1 in every tile gets the exact
        binomial bound for so many crystals at a correlation of 0.05 within tiles; without the
        number it has no interval.

    Returns
    -------
    low, high : (K,) float arrays
        NaN for fewer than two tiles and where the ratio is not defined.
    """
    n_tiles = len(numerators)
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = np.sum(numerators, axis=0) / np.sum(denominators, axis=0)
    replicates = ratio_replicates(numerators, denominators, seed)
    scales = [scale] * len(estimate) if isinstance(scale, str) else scale
    is_share = np.array([name == "share" for name in scales], dtype=np.bool_)
    return t_intervals(estimate, replicates, n_tiles, is_share, crystals)


def t_intervals(
    estimate: Floats,
    replicates: Floats,
    n_tiles: int,
    is_share: NDArray[np.bool_],
    crystals: int | NDArray[np.integer] | None = None,
) -> tuple[Floats, Floats]:
    """95 % intervals of statistics from their values in resamples of the tiles.

    Parameters
    ----------
    estimate : (K,) float array
    replicates : (B, K) float array
    n_tiles : int
    is_share : (K,) bool array
        Values from 0 to 1, with an interval on the logit scale; others are above 0, with one
        on the log scale.
    crystals : int or (K,) int array, optional
        As in `ratio_intervals`.

    Returns
    -------
    low, high : (K,) float arrays
        NaN for fewer than two tiles and where the estimate is not a number.
    """
    unknown = np.full(len(estimate), np.nan)
    if n_tiles < 2:
        return unknown, unknown
    units = min(n_tiles, _MAX_UNITS)
    with np.errstate(all="ignore"):
        deviation = _nan_deviation(replicates) * np.sqrt(units / (units - 1))
        reach = _student_t(units - 1) * deviation
        logit = np.log(estimate / (1 - estimate))
        on_logit = reach / (estimate * (1 - estimate))
        on_log = reach / estimate
        low = np.where(is_share, 1 / (1 + np.exp(on_logit - logit)), estimate * np.exp(-on_log))
        high = np.where(is_share, 1 / (1 + np.exp(-on_logit - logit)), estimate * np.exp(on_log))
    # At the end of a scale there is no deviation to speak of.
    is_end = np.isfinite(estimate) & ((estimate <= 0) | (is_share & (estimate >= 1)))
    is_end |= np.isfinite(estimate) & (deviation == 0)
    low, high = np.where(is_end, estimate, low), np.where(is_end, estimate, high)
    if crystals is not None:
        known = is_share & (np.asarray(crystals) > 0)
        worth = crystals / (1 + np.maximum(crystals / n_tiles - 1, 0) * _ALIKE)
        bound = 1 - ((1 - LEVEL) / 2) ** (1 / np.maximum(worth, 1e-9))
        high = np.where(known & (estimate == 0), bound, high)
        low = np.where(known & (estimate == 1), 1 - bound, low)
    return low, high


def _nan_deviation(replicates: Floats) -> Floats:
    """Standard deviation of each column, without the resamples in which it is not defined."""
    away = replicates - replicates.mean(axis=0)
    deviation = np.asarray(np.sqrt(np.einsum("bk,bk->k", away, away) / len(replicates)))
    partly = np.flatnonzero(np.isnan(deviation))
    if len(partly):
        values = replicates[:, partly]
        known = np.isfinite(values)
        count = known.sum(axis=0)
        values = np.where(known, values, 0.0)
        away = np.where(known, values - values.sum(axis=0) / count, 0.0)
        deviation[partly] = np.sqrt(np.einsum("bk,bk->k", away, away) / count)
    return deviation


@functools.lru_cache(maxsize=1024)
def _student_t(degrees: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + LEVEL) / 2))


class WeightedQuantiles:
    """Quantiles of crystals' values, with their uncertainty.

    Parameters
    ----------
    values : (N,) float array
        Without NaN.
    tile : (N,) int array
        Index of each crystal's tile, 0 to n_tiles - 1.
    n_tiles : int
    weights : (N,) float array, optional
        0 or more; 1 by default.

    Examples
    --------
    >>> sizes = WeightedQuantiles(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1]), 2)
    >>> sizes.at([0.5]).tolist()
    [2.5]
    """

    def __init__(
        self,
        values: Floats,
        tile: NDArray[np.integer],
        n_tiles: int,
        weights: Floats | None = None,
    ) -> None:
        self.n_tiles = n_tiles
        self._groups = GroupedQuantiles(values, tile, np.array([0, n_tiles]), weights)

    def __len__(self) -> int:
        return int(self._groups.counts[0])

    def at(self, levels: Sequence[float] | Floats) -> Floats:
        """Quantiles at levels from 0 to 1, (…, Q); NaN without crystals."""
        return self._groups.at(np.asarray(levels, np.float64)[..., None, :])[..., 0, :]

    def intervals(self, levels: Sequence[float], seed: int = 0) -> tuple[Floats, Floats]:
        """95 % intervals of the quantiles at these levels, each (Q,)."""
        low, high = ratio_intervals(*self.below(self.at(levels)), "share", len(self), seed)
        unknown = np.isnan(low) | (len(self) == 0)
        low, high = self.at(np.nan_to_num(low)), self.at(np.nan_to_num(high))
        return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)

    def replicates(self, levels: Sequence[float], seed: int = 0) -> Floats:
        """Quantiles in each resample of the tiles, (RESAMPLES, Q), for functions of several.

        A resample with a larger share below a quantile has a smaller quantile: its value is that
        of the whole sample at the level lowered by the difference (Bahadur's representation).
        """
        wanted = np.asarray(levels, np.float64)
        numerators, denominators = self.below(self.at(wanted))
        with np.errstate(invalid="ignore", divide="ignore"):
            whole = numerators.sum(axis=0) / denominators.sum()
        shares = ratio_replicates(numerators, denominators, seed)
        at = self.at(np.clip(wanted + whole - shares, 0, 1))
        return np.where(np.isnan(shares), np.nan, at)

    def below(self, quantiles: Floats) -> tuple[Floats, Floats]:
        """Weight of each tile's crystals up to each size (T, Q), and of all of them (T, 1)."""
        return self._groups.below(quantiles[None])
