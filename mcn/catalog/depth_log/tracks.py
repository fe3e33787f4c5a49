"""Tracks of depth logs: drawing one kind of column against depth."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from numpy.typing import NDArray

from mcn.catalog.depth_log.columns import (
    AREA_FRACTION,
    CORRECTED,
    EUHEDRAL,
    HIGH,
    LOW,
    MEDIAN,
    PORES,
    shapes_of_log,
)
from mcn.catalog.depth_log.table import tile_depths_of_log
from mcn.plots import INK, shape_colours

Floats = NDArray[np.float64]

_DARK: Final = "#1d3b5f"
_MIDDLE: Final = "#5b7089"
_PALE: Final = "#dbe3ee"
_BAND: Final = "#9db4d3"
_SAND: Final = "#b9a48a"
_SAND_BAND: Final = "#8f7a5e"
_PORE: Final = "#30343b"
_ZONE: Final = "#b3261e"
_MOST_TICKS: Final = 2000


class LogColumns:
    """The columns of a depth log as steps against depth; unknown values are NaN.

    Parameters
    ----------
    log : pa.Table
        Columns of `mcn.catalog.depth_log.columns.depth_log_schema`; of the statistics, some may
        be absent.
    above : float
        Depth that is drawn at 0.
    """

    def __init__(self, log: pa.Table, above: float = 0.0) -> None:
        self._log = log
        self.shapes = shapes_of_log(log)
        self.top, self.base = self.values("depth_top") - above, self.values("depth_base") - above
        self.tile_depths = tile_depths_of_log(log) - above
        # Each interval is a step: its value holds from its top to its base.
        self.depth = np.column_stack([self.top, self.base]).ravel()

    def values(self, name: str) -> Floats:
        """Values of a column, one per interval."""
        if name not in self._log.column_names:
            return np.full(self._log.num_rows, np.nan)
        column = self._log[name].cast(pa.float64())
        return np.asarray(column.to_numpy(zero_copy_only=False))

    def steps(self, name: str) -> Floats:
        """Values of a column at the top and base of each interval."""
        return np.repeat(self.values(name), 2)

    def interval(self, name: str) -> tuple[Floats, Floats]:
        """Both ends of a statistic's 95 % interval, as steps."""
        return self.steps(LOW + name), self.steps(HIGH + name)


def draw_shapes(axes: Axes, columns: LogColumns) -> None:
    """Fractions of shapes side by side, and ticks where tiles are."""
    left = np.zeros(len(columns.top))
    length = columns.base - columns.top
    for shape, colour in zip(columns.shapes, shape_colours(columns.shapes), strict=True):
        share = np.nan_to_num(columns.values(f"fraction_{shape}"))
        axes.barh(columns.top, share, length, left, align="edge", color=colour, label=shape)
        left = left + share
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    head(axes, "Shape\nfraction of crystals")
    if 0 < len(columns.tile_depths) <= _MOST_TICKS:
        # Blended coordinates: across in shares of the track, down in depth.
        axes.plot(
            np.full(len(columns.tile_depths), 0.985),
            columns.tile_depths,
            ls="",
            marker=0,
            color=INK,
            markersize=3,
            markeredgewidth=0.5,
            clip_on=False,
            transform=axes.get_yaxis_transform(),
        )


def draw_euhedral(axes: Axes, columns: LogColumns) -> None:
    """Fraction of euhedral to subhedral crystals with its interval."""
    axes.fill_betweenx(columns.depth, *columns.interval(EUHEDRAL), color=_BAND, linewidth=0)
    axes.plot(columns.steps(EUHEDRAL), columns.depth, color=_DARK, lw=1.4)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    head(axes, "Euhedral to\nsubhedral fraction")


def draw_sizes(axes: Axes, columns: LogColumns) -> None:
    """Visible and whole sizes with the interval of the median, and the resolvable limit."""
    head(axes, "Equivalent diameter\nµm")
    if np.isnan(columns.values(MEDIAN)).all():
        axes.set_xticks([])
        axes.text(0.5, 0.5, "pixel size\nunknown", transform=axes.transAxes, ha="center")
        return
    depth = columns.depth
    outer = [columns.steps(f"q{level}_equivalent_diameter_um") for level in (10, 90)]
    if np.isnan(outer).all():
        outer = [columns.steps(f"q{level}_equivalent_diameter_um") for level in (25, 75)]
    axes.fill_betweenx(depth, outer[0], outer[1], color=_PALE, linewidth=0, label="P10 to P90")
    band = columns.interval(MEDIAN)
    axes.fill_betweenx(depth, *band, color=_BAND, linewidth=0, label="95 % of the median")
    axes.plot(columns.steps(MEDIAN), depth, color=_DARK, lw=1.6, label="median, visible")
    whole = CORRECTED + MEDIAN
    if np.isfinite(columns.values(whole)).any():
        axes.fill_betweenx(depth, *columns.interval(whole), color="#f3cfa0", linewidth=0, alpha=0.7)
        axes.plot(columns.steps(whole), depth, color="#c05a00", lw=1.4, label="median, whole")
    limit = columns.steps("resolvable_diameter_um")
    if np.isfinite(limit).any():
        axes.plot(limit, depth, color="#7a7f87", lw=0.9, ls=":", label="resolvable")
    # Intervals of two or three tiles may reach far out.
    shown = [*outer, columns.steps(MEDIAN), columns.steps(whole)]
    axes.set_xlim(0, 1.2 * float(np.nanmax(shown)))


def draw_area(axes: Axes, columns: LogColumns) -> None:
    """Crystal area with its interval, and visible pores from the other side."""
    depth = columns.depth
    axes.fill_betweenx(depth, 0, columns.steps(AREA_FRACTION), color=_SAND, linewidth=0)
    band = columns.interval(AREA_FRACTION)
    axes.fill_betweenx(depth, *band, color=_SAND_BAND, alpha=0.6, linewidth=0)
    pores = columns.steps(PORES)
    if np.isfinite(pores).any():
        axes.fill_betweenx(depth, 1 - pores, 1, color=_PORE, linewidth=0)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    head(axes, "Crystals | pores\nfraction of area")


def draw_counts(axes: Axes, columns: LogColumns) -> None:
    """Number of crystals; intervals with few tiles are hatched."""
    few = np.nan_to_num(columns.values("few_tiles")) > 0
    length = columns.base - columns.top
    bars = axes.barh(
        columns.top, columns.values("n_crystals"), length, align="edge", color="#8b949e"
    )
    for bar, is_few in zip(bars, few, strict=True):
        if is_few:
            bar.set(facecolor="#dfe3e8", hatch="////", edgecolor="#8b949e", linewidth=0)
    axes.set_xlim(left=0)
    head(axes, "Crystals\nhatched: few" if few.any() else "Crystals\nnumber")


def draw_zones(axes: Axes, zones: pa.Table, above: float = 0.0, labelled: bool = False) -> None:
    """Boundaries of zones, thinner with less support; `labelled` by number and support."""
    for row in zones.to_pylist():
        top, base = row["depth_top"] - above, row["depth_base"] - above
        if row["support"] is not None:
            axes.axhline(top, color=_ZONE, lw=0.5 + 1.1 * row["support"], zorder=5)
        if labelled:
            across = axes.get_yaxis_transform()
            where: dict[str, Any] = {
                "transform": across,
                "clip_on": False,
                "color": _ZONE,
                "va": "center",
            }
            axes.text(1.04, (top + base) / 2, f"{row['zone']}", fontsize=11, **where)
            if row["support"] is not None:
                axes.text(1.04, top, f"{row['support']:.0%}", fontsize=7, **where)


def head(axes: Axes, title: str) -> None:
    """Draw a track's name and scale at the top, where readers of well logs expect them."""
    axes.xaxis.set_ticks_position("top")
    axes.set_title(title, fontsize=10, color=INK, pad=22, parse_math=False)
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(axis="y", color="#d8dce2", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("bottom", "right"):
        axes.spines[side].set_visible(False)


def legend(axes: Axes, columns: int) -> None:
    """Draw a track's legend below it."""
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=columns, frameon=False, fontsize=8
    )
