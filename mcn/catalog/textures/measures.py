"""What the rules of textures are about, for an interval and for each resample of its tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mcn.catalog.depth_log.bias import whole_diameters
from mcn.catalog.depth_log.uncertainty import WeightedQuantiles, ratio_replicates, sum_by_tile

Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]

_MEANS: Final = {
    "euhedral": "is_euhedral",
    "contact": "contact_fraction",
    "roundness": "roundness",
}


def texture_measures(
    tiles: Columns,
    crystals: Columns,
    tile: NDArray[np.intp],
    shapes: Sequence[str],
    seed: int = 0,
) -> tuple[dict[str, float], dict[str, Floats]]:
    """Measures of an interval, and their values in resamples of its tiles.

    Parameters
    ----------
    tiles : mapping of str to (T,) array
        `visible_pore_fraction, width, height`; NaN is unknown.
    crystals : mapping of str to (N,) array
        `shape` as its number, `is_euhedral, contact_fraction, roundness, completeness,
        equivalent_diameter_um, centroid_x, centroid_y`.
    tile : (N,) int array
        Index of each crystal's tile.
    shapes : sequence of str
    seed : int

    Returns
    -------
    values : dict of str to float
        Measure → its value; NaN is unknown.
    replicates : dict of str to (R,) float array
        The same measures in each resample.
    """
    n_tiles = len(tiles["width"])
    ratios = _ratios(tiles, crystals, tile, len(shapes))
    numerators = np.stack([numerator for numerator, _ in ratios.values()], axis=1)
    denominators = np.stack([denominator for _, denominator in ratios.values()], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = numerators.sum(axis=0) / denominators.sum(axis=0)
    drawn = ratio_replicates(numerators, denominators, seed)
    values = dict(zip(ratios, estimate.tolist(), strict=True))
    replicates = dict(zip(ratios, np.asarray(drawn).T, strict=True))

    fractions = [f"fraction_{number}" for number in range(len(shapes))]
    together = np.stack([replicates.pop(name) for name in fractions])
    once = np.array([[values.pop(name)] for name in fractions])
    for number, shape in enumerate(shapes):
        replicates[f"lead_{shape}"] = _lead(together, number)
        values[f"lead_{shape}"] = float(_lead(once, number)[0])

    visible = crystals["equivalent_diameter_um"]
    whole = whole_diameters(visible, crystals["completeness"])
    # Crystals that an older version measured have no hidden part that is known.
    diameter = whole if np.isfinite(whole).any() else visible
    known = np.isfinite(diameter)
    sizes = WeightedQuantiles(diameter[known], tile[known], n_tiles)
    values["median_diameter_um"] = float(sizes.at([0.5])[0])
    replicates["median_diameter_um"] = sizes.replicates([0.5], seed)[:, 0]
    return values, replicates


def spacing_by_tile(
    x: Floats, y: Floats, tile: NDArray[np.intp], areas: Floats
) -> tuple[Floats, Floats]:
    """Distances to the nearest neighbours and those of a random pattern, summed by tile.

    Their ratio is the index of Clark and Evans [1]_: 1 for points at random, above for points
    that keep apart, such as crystals that fill a surface, and below for points in clusters.

    Parameters
    ----------
    x, y : (N,) float arrays
        Centres in pixels.
    tile : (N,) int array
    areas : (T,) float array
        Areas of the tiles in pixels.

    Returns
    -------
    observed, expected : (T,) float arrays
        0 for tiles with fewer than two crystals.

    References
    ----------
    .. [1] P. J. Clark, F. C. Evans, "Distance to nearest neighbor as a measure of spatial
       relationships in populations", Ecology 35, 1954.
    """
    from scipy.spatial import cKDTree

    n_tiles = len(areas)
    observed, expected = np.zeros(n_tiles), np.zeros(n_tiles)
    order = np.argsort(tile, kind="stable")
    ends = np.searchsorted(tile[order], np.arange(n_tiles + 1))
    for number in range(n_tiles):
        inside = order[ends[number] : ends[number + 1]]
        if len(inside) < 2:
            continue
        points = np.column_stack([x[inside], y[inside]])
        observed[number] = cKDTree(points).query(points, k=2)[0][:, 1].sum()
        expected[number] = 0.5 * np.sqrt(areas[number] * len(inside))
    return observed, expected


def _ratios(
    tiles: Columns, crystals: Columns, tile: NDArray[np.intp], n_shapes: int
) -> dict[str, tuple[Floats, Floats]]:
    """Numerators and denominators (T,) of each measure that is a ratio of sums over tiles."""
    n_tiles = len(tiles["width"])
    count = np.bincount(tile, minlength=n_tiles).astype(np.float64)
    ratios: dict[str, tuple[Floats, Floats]] = {}
    for name, column in _MEANS.items():
        values = crystals[column]
        known = np.isfinite(values)
        ratios[name] = (
            sum_by_tile(values[known], tile[known], n_tiles),
            np.bincount(tile[known], minlength=n_tiles).astype(np.float64),
        )
    pores = tiles["visible_pore_fraction"]
    ratios["pores"] = (np.nan_to_num(pores), np.isfinite(pores).astype(np.float64))
    areas = tiles["width"] * tiles["height"]
    ratios["spacing"] = spacing_by_tile(crystals["centroid_x"], crystals["centroid_y"], tile, areas)
    for number in range(n_shapes):
        is_shape = (crystals["shape"] == number).astype(np.float64)
        ratios[f"fraction_{number}"] = (sum_by_tile(is_shape, tile, n_tiles), count)
    return ratios


def _lead(fractions: Floats, number: int) -> Floats:
    """Fraction of one shape minus the largest of the others: (shapes, R) to (R,)."""
    others = np.delete(fractions, number, axis=0)
    highest = others.max(axis=0) if len(others) else np.zeros(fractions.shape[1])
    return np.asarray(fractions[number] - highest)
