"""A depth log drawn as well logs are: depth downwards, tracks side by side."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcn.plots import INK, shape_colours, write_title


def depth_log_figure(log: pa.Table, well: str) -> Figure:
    """A depth log as well logs are drawn: depth downwards, tracks side by side.

    Parameters
    ----------
    log : pa.Table of schema `mcn.catalog.depth_log.depth_log_schema`
    well : str
        Name for the title.
    """
    from mcn.catalog.depth_log import shapes_of_log

    columns = {
        name: log[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
        for name in log.column_names
    }
    top, base = columns["depth_top"], columns["depth_base"]
    figure = Figure(figsize=(9, 10), dpi=120, layout="constrained")
    write_title(figure, f"Well {well}", fontsize=14)
    tracks = figure.subplots(1, 4, sharey=True, width_ratios=[3, 2.4, 1.6, 1.2])
    shapes, size, area, count = tracks

    left = np.zeros(len(top))
    names = shapes_of_log(log)
    for shape, colour in zip(names, shape_colours(names), strict=True):
        share = np.nan_to_num(columns[f"fraction_{shape}"])
        shapes.barh(top, share, base - top, left, align="edge", color=colour, label=shape)
        left = left + share
    shapes.set_xlim(0, 1)
    _head(shapes, "Shape\nfraction of crystals")
    _legend(shapes, 2)

    depth = np.column_stack([top, base]).ravel()
    step = {name: np.repeat(values, 2) for name, values in columns.items()}
    _head(size, "Equivalent diameter\nµm")
    if np.isnan(columns["mean_equivalent_diameter_um"]).all():
        size.set_xticks([])
        size.text(0.5, 0.5, "pixel size\nunknown", transform=size.transAxes, ha="center")
    else:
        low, high = step["q25_equivalent_diameter_um"], step["q75_equivalent_diameter_um"]
        median, mean = step["median_equivalent_diameter_um"], step["mean_equivalent_diameter_um"]
        size.fill_betweenx(depth, low, high, color="#c9d3e0", linewidth=0, label="middle half")
        size.plot(median, depth, color="#5b7089", lw=1, ls="--", label="median")
        size.plot(mean, depth, color="#1d3b5f", lw=1.8, label="mean")
        size.set_xlim(left=0)
        _legend(size, 1)

    area.fill_betweenx(depth, 0, step["crystal_area_fraction"], color="#b9a48a", linewidth=0)
    area.set_xlim(0, 1)
    _head(area, "Crystal area\nfraction")

    count.barh(top, columns["n_crystals"], base - top, align="edge", color="#8b949e")
    count.set_xlim(left=0)
    _head(count, "Crystals\nnumber")

    shapes.set_ylim(base.max(), top.min())
    shapes.set_ylabel("Measured depth (m)", color=INK)
    return figure


def _head(axes: Axes, title: str) -> None:
    """The track's name and scale at its head, where readers of well logs look for them."""
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
