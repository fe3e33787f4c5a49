"""Plots of depth logs in the manner of well logs: depth downwards, tracks side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcn.catalog.depth_log.columns import shapes_of_log
from mcn.catalog.storage import explained_output
from mcn.plots import INK, shape_colours, write_title

Columns = Mapping[str, NDArray[np.float64]]
"""Columns of a depth log; null is NaN."""


def write_png(log: pa.Table, well: str, path: str | os.PathLike[str]) -> None:
    """Draw a depth log (`depth_log_figure`) and write it as PNG."""
    with explained_output(path):
        depth_log_figure(log, well).savefig(path, format="png")


def depth_log_figure(log: pa.Table, well: str) -> Figure:
    """Draw a depth log with tracks for shape, size, crystal area and number of crystals.

    Parameters
    ----------
    log : pa.Table of schema `mcn.catalog.depth_log.table.depth_log_schema`
    well : str
        Name for the title.
    """
    columns = {
        name: log[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
        for name in log.column_names
    }
    top, base = columns["depth_top"], columns["depth_base"]
    figure = Figure(figsize=(9, 10), dpi=120, layout="constrained")
    write_title(figure, f"Well {well}", fontsize=14)
    tracks = figure.subplots(1, 4, sharey=True, width_ratios=[3, 2.4, 1.6, 1.2])
    shapes, size, area, count = tracks
    # Each interval is a step: its value holds from its top to its base.
    depth = np.column_stack([top, base]).ravel()
    steps = {name: np.repeat(values, 2) for name, values in columns.items()}

    _draw_shapes(shapes, columns, shapes_of_log(log))
    _draw_sizes(size, depth, steps)
    area.fill_betweenx(depth, 0, steps["crystal_area_fraction"], color="#b9a48a", linewidth=0)
    area.set_xlim(0, 1)
    _head(area, "Crystal area\nfraction")
    count.barh(top, columns["n_crystals"], base - top, align="edge", color="#8b949e")
    count.set_xlim(left=0)
    _head(count, "Crystals\nnumber")

    shapes.set_ylim(base.max(), top.min())
    shapes.set_ylabel("Measured depth (m)", color=INK)
    return figure


def _draw_shapes(axes: Axes, columns: Columns, names: Sequence[str]) -> None:
    top, base = columns["depth_top"], columns["depth_base"]
    left = np.zeros(len(top))
    for shape, colour in zip(names, shape_colours(names), strict=True):
        share = np.nan_to_num(columns[f"fraction_{shape}"])
        axes.barh(top, share, base - top, left, align="edge", color=colour, label=shape)
        left = left + share
    axes.set_xlim(0, 1)
    _head(axes, "Shape\nfraction of crystals")
    _legend(axes, 2)


def _draw_sizes(axes: Axes, depth: NDArray[np.float64], steps: Columns) -> None:
    _head(axes, "Equivalent diameter\nµm")
    mean = steps["mean_equivalent_diameter_um"]
    if np.isnan(mean).all():
        axes.set_xticks([])
        axes.text(0.5, 0.5, "pixel size\nunknown", transform=axes.transAxes, ha="center")
        return
    low, high = steps["q25_equivalent_diameter_um"], steps["q75_equivalent_diameter_um"]
    axes.fill_betweenx(depth, low, high, color="#c9d3e0", linewidth=0, label="middle half")
    median = steps["median_equivalent_diameter_um"]
    axes.plot(median, depth, color="#5b7089", lw=1, ls="--", label="median")
    axes.plot(mean, depth, color="#1d3b5f", lw=1.8, label="mean")
    axes.set_xlim(left=0)
    _legend(axes, 1)


def _head(axes: Axes, title: str) -> None:
    """Draw a track's name and scale at the top, where readers of well logs expect them."""
    axes.xaxis.set_ticks_position("top")
    axes.set_title(title, fontsize=10, color=INK, pad=22)
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(axis="y", color="#d8dce2", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("bottom", "right"):
        axes.spines[side].set_visible(False)


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=columns, frameon=False, fontsize=9
    )
