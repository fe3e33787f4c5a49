"""Plots of depth logs in the manner of well logs: depth downwards, tracks side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import pyarrow as pa
from matplotlib.figure import Figure

from mcn.catalog.depth_log import tracks
from mcn.catalog.depth_log.tracks import LogColumns
from mcn.catalog.storage import CatalogQueryError, explained_output
from mcn.plots import INK, drawable, write_title

_MOST_WELLS: Final = 12
_TOP: Final = "#6b4fa0"


def write_png(
    log: pa.Table, well: str, path: str | os.PathLike[str], zones: pa.Table | None = None
) -> None:
    """Draw a depth log (`depth_log_figure`) and write it as PNG."""
    with explained_output(path):
        depth_log_figure(log, well, zones).savefig(path, format="png")


def depth_log_figure(log: pa.Table, well: str, zones: pa.Table | None = None) -> Figure:
    """Draw a depth log with tracks for shapes, facets, sizes, area and number of crystals.

    Bands are 95 % intervals.

    Parameters
    ----------
    log : pa.Table of schema `mcn.catalog.depth_log.columns.depth_log_schema`
    well : str
        Name for the title.
    zones : pa.Table, optional
        Result of `mcn.catalog.depth_log.zones.find_zones`, drawn as lines with their support.
    """
    columns = LogColumns(log)
    figure = Figure(figsize=(11, 10), dpi=120, layout="constrained")
    write_title(figure, f"Well {well}", fontsize=14)
    axes = figure.subplots(1, 5, sharey=True, width_ratios=[3, 1.4, 2.6, 1.6, 1.2])
    shapes, euhedral, size, area, count = axes
    tracks.draw_shapes(shapes, columns)
    tracks.draw_euhedral(euhedral, columns)
    tracks.draw_sizes(size, columns)
    tracks.draw_area(area, columns)
    tracks.draw_counts(count, columns)
    tracks.legend(shapes, 2)
    if size.get_legend_handles_labels()[0]:
        tracks.legend(size, 2)
    if zones is not None:
        for track in axes:
            tracks.draw_zones(track, zones, labelled=track is count)
    shapes.set_ylim(columns.base.max(), columns.top.min())
    shapes.set_ylabel("Measured depth (m)", color=INK)
    return figure


def write_panel_png(
    logs: Mapping[str, pa.Table],
    path: str | os.PathLike[str],
    tops: Mapping[str, float] | None = None,
    top_name: str = "",
    zones: Mapping[str, pa.Table] | None = None,
) -> None:
    """Draw a correlation panel (`panel_figure`) and write it as PNG."""
    with explained_output(path):
        panel_figure(logs, tops, top_name, zones).savefig(path, format="png")


def panel_figure(
    logs: Mapping[str, pa.Table],
    tops: Mapping[str, float] | None = None,
    top_name: str = "",
    zones: Mapping[str, pa.Table] | None = None,
) -> Figure:
    """Draw several wells on one depth axis: shapes and median size of each.

    Parameters
    ----------
    logs : mapping of str to pa.Table
        Depth log of each well (schema `mcn.catalog.depth_log.columns.depth_log_schema`), drawn
        from left to right.
    tops : mapping of str to float, optional
        Measured depth of a formation's top in each well, in metres. It is drawn at the same
        height in all wells, and depths are counted from it: negative above.
    top_name : str
        Name of that formation.
    zones : mapping of str to pa.Table, optional
        Zones of each well (`mcn.catalog.depth_log.zones.find_zones`).

    Raises
    ------
    CatalogQueryError
        For more than 12 wells, and for wells without the top.
    """
    if not 1 <= len(logs) <= _MOST_WELLS:
        raise CatalogQueryError(
            f"{len(logs)} wells do not fit into one picture; give 1 to {_MOST_WELLS}"
        )
    if tops is not None and (without := [well for well in logs if well not in tops]):
        raise CatalogQueryError(
            f"well {without[0]!r} has no top {top_name!r} to flatten on; import it with "
            "`mcn catalog wells import`, or leave the well out"
        )
    figure = Figure(figsize=(1.4 + 3.1 * len(logs), 10), dpi=120, layout="constrained")
    write_title(figure, f"Flattened on {top_name}" if tops is not None else "", fontsize=14)
    # Two tracks of a well, and a gap before the next.
    grid = figure.subplots(1, 3 * len(logs) - 1, sharey=True, width_ratios=_widths(len(logs)))
    for gap in grid[2::3]:
        gap.set_axis_off()
    spans = []
    for shapes, size, (well, log) in zip(grid[::3], grid[1::3], logs.items(), strict=True):
        above = 0.0 if tops is None else tops[well]
        columns = LogColumns(log, above)
        spans.append((columns.top.min(), columns.base.max()))
        tracks.draw_shapes(shapes, columns)
        tracks.draw_sizes(size, columns)
        tracks.head(shapes, f"{drawable(well)}\nshape fraction")
        tracks.head(size, "\ndiameter, µm")
        for track in (shapes, size):
            if zones is not None and well in zones:
                tracks.draw_zones(track, zones[well], above, labelled=track is size)
            if tops is not None:
                track.axhline(0.0, color=_TOP, lw=2, zorder=6)
    if tops is not None:
        for gap in grid[2::3]:
            gap.axhline(0.0, color=_TOP, lw=2)
    grid[0].set_ylim(max(base for _, base in spans), min(top for top, _ in spans))
    unit = "Measured depth (m)" if tops is None else f"Depth below {drawable(top_name)} (m)"
    grid[0].set_ylabel(unit, color=INK, parse_math=False)
    handles, labels = grid[0].get_legend_handles_labels()
    sizes, names = grid[1].get_legend_handles_labels()
    figure.legend(
        handles + sizes, labels + names, loc="outside lower center", ncols=5, frameon=False,
        fontsize=8,
    )  # fmt: skip
    return figure


def _widths(wells: int) -> list[float]:
    return [1.5, 1.2, 0.35] * (wells - 1) + [1.5, 1.2]
