"""`mcn log`: depth logs of wells, their zones, and correlation panels."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mcn.cli.catalog import (
    ClassifierOption,
    CorrectedOption,
    Depth,
    SegmenterOption,
    parse_depths,
)
from mcn.cli.console import print_json, say
from mcn.cli.options import AsJson, AsOfOption, CatalogUri

if TYPE_CHECKING:
    import pyarrow as pa

    from mcn.catalog.store import Catalog

_SHOWN: Final = (
    *("depth_top", "depth_base", "n_tiles", "few_tiles", "n_crystals"),
    *("fraction_", "median_equivalent_diameter_um", "low_median_equivalent_diameter_um"),
    *("high_median_equivalent_diameter_um", "corrected_median_equivalent_diameter_um"),
    *("sorting_phi", "crystal_area_fraction", "visible_pore_fraction"),
)
"""Columns of a log shown in a terminal, or their beginnings; files have all."""


def log(
    catalog: CatalogUri,
    well: Annotated[
        list[str],
        typer.Option(help="Well; several are drawn side by side on one depth axis."),
    ],
    step: Annotated[
        str | None, typer.Option(help="Length of an interval, metres, or feet as in 10ft.")
    ] = None,
    depth: Depth = None,
    zones: Annotated[
        bool, typer.Option("--zones", help="List the zones of the log, and draw them.")
    ] = False,
    zone_count: Annotated[
        int | None,
        typer.Option(min=1, help="With --zones: number of zones, by default as the log supports."),
    ] = None,
    flatten: Annotated[
        str | None,
        typer.Option(metavar="FORMATION", help="In figures, draw depths from this imported top."),
    ] = None,
    formation: Annotated[
        str | None, typer.Option(help="Only this formation, by imported tops.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resampled tiles.")] = 0,
    segmenter: SegmenterOption = None,
    classifier: ClassifierOption = None,
    as_of: AsOfOption = None,
    corrected: CorrectedOption = False,
    png: Annotated[Path | None, typer.Option(help="PNG file to write.")] = None,
    svg: Annotated[Path | None, typer.Option(help="SVG file to write.")] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="HTML file to write, of one well: figure, table and data in one."),
    ] = None,
    las: Annotated[Path | None, typer.Option(help="LAS 2.0 file to write, of one well.")] = None,
    csv: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
    as_json: AsJson = False,
) -> None:
    """Depth logs of wells: shapes, sizes, contact and area against depth, with uncertainty."""
    from mcn.catalog.depth_log.table import depth_log, write_csv
    from mcn.catalog.depth_log.zones import find_zones
    from mcn.catalog.depths import parse_length
    from mcn.catalog.formats import row_objects, write_table
    from mcn.catalog.store import Catalog
    from mcn.catalog.wells import plain_well
    from mcn.catalog.wells_table.places import formation_depths

    wells = list(dict.fromkeys(map(plain_well, well)))
    if (las or html) and len(wells) > 1:
        raise typer.BadParameter(
            "LAS and HTML files hold one well; give --las and --html with a single --well"
        )
    if flatten and not (png or svg or html):
        raise typer.BadParameter("--flatten is for the picture; give --png, --svg or --html too")
    opened = Catalog(catalog, as_of)
    length = None if step is None else parse_length(step)
    window = parse_depths(depth)
    tables = {
        name: depth_log(
            opened,
            name,
            length,
            segmenter,
            classifier,
            depth=formation_depths(opened, name, formation, window) if formation else window,
            seed=seed,
            corrected=corrected,
        )
        for name in wells
    }
    zoned = (
        {name: find_zones(table, zone_count, seed) for name, table in tables.items()}
        if zones or zone_count
        else None
    )
    if csv:
        write_csv(_joined(tables), csv)
    if las:
        from mcn.catalog.depth_log.las import write_las
        from mcn.catalog.wells_table.table import well_header

        write_las(tables[wells[0]], wells[0], las, well_header(opened, wells[0]))
    if png or svg or html:
        _draw(opened, tables, zoned, flatten, png, svg, html)
    if as_json:
        logs = [
            {"well": name, "intervals": row_objects(table)}
            | ({"zones": row_objects(zoned[name])} if zoned else {})
            for name, table in tables.items()
        ]
        print_json({"logs": logs})
    elif zoned:
        write_table(_joined(zoned), "table", sys.stdout.buffer)
    elif not (csv or las or png or svg or html):
        shown = _joined(tables)
        names = [name for name in shown.column_names if name.startswith(("well", *_SHOWN))]
        write_table(shown.select(names), "table", sys.stdout.buffer)
    for path in filter(None, (csv, las, png, svg, html)):
        say(f"wrote {path}")


def _draw(
    catalog: Catalog,
    tables: Mapping[str, pa.Table],
    zoned: Mapping[str, pa.Table] | None,
    flatten: str | None,
    png: Path | None,
    svg: Path | None,
    html: Path | None,
) -> None:
    """Draw the logs once, and write the figure to each file."""
    from mcn.catalog.depth_log.plot import depth_log_figure, panel_figure
    from mcn.catalog.wells_table.places import top_depths
    from mcn.catalog.wells_table.table import well_header
    from mcn.plots import write_figure

    well, table = next(iter(tables.items()))
    if flatten or len(tables) > 1:
        tops = top_depths(catalog, flatten) if flatten else None
        figure = panel_figure(tables, tops, flatten or "", zoned)
    else:
        figure = depth_log_figure(table, well, zoned and zoned[well])
    if png:
        write_figure(figure, png, "png")
    if svg:
        write_figure(figure, svg, "svg")
    if html:
        from mcn.catalog.depth_log.html import write_html

        write_html(table, well, figure, html, well_header(catalog, well))


def _joined(tables: Mapping[str, pa.Table]) -> pa.Table:
    """The tables of several wells below each other, with a column `well`; one stays as it is."""
    import pyarrow as pa

    if len(tables) == 1:
        return next(iter(tables.values()))
    return pa.concat_tables(
        table.add_column(0, "well", pa.repeat(well, table.num_rows)).replace_schema_metadata()
        for well, table in tables.items()
    )
