"""Size distributions: by number and by area, on a log axis, with the limit of what is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from mcn.catalog.depth_log.bias import resolvable_diameter
from mcn.catalog.export import tiles_of
from mcn.catalog.query import iter_batches
from mcn.catalog.storage import CatalogQueryError
from mcn.fonts import drawable
from mcn.plots import INK, shape_colours, write_title

if TYPE_CHECKING:
    from mcn.catalog.selection import Selection
    from mcn.catalog.store import Catalog

Floats = NDArray[np.float64]

PER_DECADE: Final = 20
"""Classes of size per factor of ten."""

_DECADES: Final = (-3, 3)
EDGES: Final[Floats] = np.logspace(*_DECADES, (_DECADES[1] - _DECADES[0]) * PER_DECADE + 1)
"""Edges of the classes, equivalent diameters in µm from a nanometre to a millimetre."""

MOST_GROUPS: Final = 10


@dataclass(frozen=True)
class SizeDistribution:
    """Crystals counted by class of size.

    Parameters
    ----------
    number : (classes,) float array
        Number of crystals in each class of `EDGES`.
    area_um2 : (classes,) float array
        Their area.
    resolvable_um : float
        Smallest equivalent diameter that is reliably seen in all tiles; NaN if unknown.
    unknown : int
        Crystals without a size, of tiles without a pixel size.
    """

    number: Floats
    area_um2: Floats
    resolvable_um: float
    unknown: int


def size_distributions(
    catalog: Catalog, selection: Selection, by: str | None = None
) -> dict[str, SizeDistribution]:
    """Count the crystals of a selection by size.

    Parameters
    ----------
    catalog : Catalog
    selection : Selection
    by : {"well", "shape"}, optional
        One distribution for each; None for one in all, named "all".

    Raises
    ------
    CatalogQueryError
        If no crystal has a size, or there are more than `MOST_GROUPS` wells.
    """
    snapshot = catalog.snapshot()
    number: dict[str, Floats] = {}
    area: dict[str, Floats] = {}
    unknown: dict[str, int] = {}
    columns = [*([by] if by else []), "equivalent_diameter_um", "area_um2"]
    for batch in iter_batches(catalog, replace(selection, columns=columns), snapshot=snapshot):
        names = batch[by] if by else pa.repeat("all", batch.num_rows)
        for name in pc.unique(names).to_pylist():
            rows = batch.filter(pc.equal(names, name)) if by else batch
            diameter = _floats(rows["equivalent_diameter_um"])
            is_known = np.isfinite(diameter)
            weights = _floats(rows["area_um2"])[is_known]
            counts = np.histogram(diameter[is_known], EDGES)[0].astype(float)
            areas = np.histogram(diameter[is_known], EDGES, weights=weights)[0]
            number[name] = number.get(name, 0.0) + counts
            area[name] = area.get(name, 0.0) + areas
            unknown[name] = unknown.get(name, 0) + int((~is_known).sum())
    if not any(counts.any() for counts in number.values()):
        raise CatalogQueryError(
            f"{catalog.uri}: none of these crystals has a size in micrometres; choose wells whose "
            "tiles have a pixel size"
        )
    if len(number) > MOST_GROUPS:
        raise CatalogQueryError(
            f"{catalog.uri}: {len(number)} distributions cannot be told apart in one figure; "
            f"choose up to {MOST_GROUPS} with --well"
        )
    sizes = _floats(tiles_of(catalog, selection, snapshot, ("pixel_size_um",))["pixel_size_um"])
    limit = resolvable_diameter(sizes)
    order = [shape for shape in catalog.shapes if shape in number] if by == "shape" else number
    return {
        name: SizeDistribution(number[name], area[name], limit, unknown[name]) for name in order
    }


def quantiles(weights: Floats, levels: tuple[float, ...] = (0.1, 0.5, 0.9)) -> Floats:
    """Diameters in µm below which these shares of a distribution lie, from its classes.

    Parameters
    ----------
    weights : (classes,) float array
        Number or area in each class of `EDGES`.
    levels : tuple of float
        Shares, 0 to 1.
    """
    below = np.concatenate([[0.0], np.cumsum(weights)]) / weights.sum()
    # Only classes that hold something, or the share would not increase between the edges.
    rising = np.concatenate([[True], np.diff(below) > 0])
    return np.asarray(10 ** np.interp(levels, below[rising], np.log10(EDGES[rising])))


def size_figure(distributions: Mapping[str, SizeDistribution], title: str = "") -> Figure:
    """Draw size distributions, by number above and by area below.

    The height is the share of crystals (of area) per factor of ten in diameter, so that areas
    under a curve are shares. Dots are the 10th, 50th and 90th percentiles. The shaded part is
    below the resolvable limit: smaller crystals are mostly missed, so the curves are too low
    there.

    Parameters
    ----------
    distributions : mapping of str to SizeDistribution
        By name for the legend, at least one.
    title : str
    """
    figure = Figure(figsize=(8, 7), dpi=120, layout="constrained")
    write_title(figure, title, fontsize=13)
    axes = figure.subplots(2, 1, sharex=True)
    is_one = len(distributions) == 1
    colours = ["#1d3b5f"] if is_one else shape_colours(list(distributions))
    for (name, sizes), colour in zip(distributions.items(), colours, strict=True):
        count = int(sizes.number.sum())
        label = drawable(f"{count:,} crystals" if is_one else f"{name} ({count:,})")
        for one, weights in zip(axes, (sizes.number, sizes.area_um2), strict=True):
            if weights.any():
                _draw(one, weights, colour, label)
    limits = [sizes.resolvable_um for sizes in distributions.values()]
    for one, what in zip(axes, ("number", "area"), strict=True):
        one.set_ylabel(f"Share of {what}\nper factor of 10", color=INK)
        _draw_limit(one, max(limits, default=float("nan")))
        one.set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize=9, loc="upper right")
    filled = np.flatnonzero(sum(sizes.number for sizes in distributions.values()))
    low, high = EDGES[filled[0]] / 1.3, EDGES[filled[-1] + 1] * 1.3
    axes[1].set_xlim(min(low, np.nanmin([*limits, low])), high)
    axes[1].set_xscale("log")
    axes[1].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes[1].xaxis.set_minor_formatter(NullFormatter())
    axes[1].set_xlabel("Equivalent circular diameter of the visible part (µm)", color=INK)
    return figure


def _draw(axes: Axes, weights: Floats, colour: object, label: str) -> None:
    density = weights / weights.sum() * PER_DECADE
    axes.stairs(density, EDGES, color=colour, linewidth=1.6, label=label)
    at = quantiles(weights)
    height = density[np.clip(np.searchsorted(EDGES, at) - 1, 0, len(density) - 1)]
    axes.plot(at, height, "o", color=colour, markersize=5)


def _draw_limit(axes: Axes, limit_um: float) -> None:
    if np.isfinite(limit_um):
        axes.axvspan(EDGES[0], limit_um, color="#d8dce2", alpha=0.6, linewidth=0, zorder=0)
        axes.axvline(limit_um, color="#8b949e", linewidth=1, linestyle="--", zorder=1)
        axes.annotate(
            f" resolvable from {limit_um:.2g} µm",
            (limit_um, 1.0),
            xycoords=("data", "axes fraction"),
            ha="left",
            va="bottom",
            fontsize=8,
            color=INK,
        )
    axes.grid(color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
