"""`mcn log`: depth logs of wells, their zones, and correlation panels."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mcn.cli.catalog import ClassifierOption, Depth, SegmenterOption, parse_depths
from mcn.cli.console import print_json, say
from mcn.cli.options import AsJson, CatalogUri

if TYPE_CHECKING:
    import pyarrow as pa

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
        typer.Option(metavar="FORMATION", help="With --png: draw depths from this imported top."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the resampled tiles.")] = 0,
    segmenter: SegmenterOption = None,
    classifier: ClassifierOption = None,
    png: Annotated[Path | None, typer.Option(help="PNG file to write.")] = None,
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

    wells = list(dict.fromkeys(well))
    if las and len(wells) > 1:
        raise typer.BadParameter("a LAS file holds one well; give --las with a single --well")
    if flatten and not png:
        raise typer.BadParameter("--flatten is for the picture; give --png too")
    opened = Catalog.open(catalog)
    length = None if step is None else parse_length(step)
    window = parse_depths(depth)
    tables = {
        name: depth_log(opened, name, length, segmenter, classifier, depth=window, seed=seed)
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
    if png and (flatten or len(wells) > 1):
        from mcn.catalog.depth_log.plot import write_panel_png
        from mcn.catalog.wells_table.places import top_depths

        tops = top_depths(opened, flatten) if flatten else None
        write_panel_png(tables, png, tops, flatten or "", zoned)
    elif png:
        from mcn.catalog.depth_log.plot import write_png

        write_png(tables[wells[0]], wells[0], png, zoned and zoned[wells[0]])
    if as_json:
        logs = [
            {"well": name, "intervals": row_objects(table)}
            | ({"zones": row_objects(zoned[name])} if zoned else {})
            for name, table in tables.items()
        ]
        print_json({"logs": logs})
    elif zoned:
        write_table(_joined(zoned), "table", sys.stdout.buffer)
    elif not (csv or las or png):
        shown = _joined(tables)
        names = [name for name in shown.column_names if name.startswith(("well", *_SHOWN))]
        write_table(shown.select(names), "table", sys.stdout.buffer)
    for path in filter(None, (csv, las, png)):
        say(f"wrote {path}")


def _joined(tables: Mapping[str, pa.Table]) -> pa.Table:
    """The tables of several wells below each other, with a column `well`; one stays as it is."""
    import pyarrow as pa

    if len(tables) == 1:
        return next(iter(tables.values()))
    return pa.concat_tables(
        table.add_column(0, "well", pa.repeat(well, table.num_rows)).replace_schema_metadata()
        for well, table in tables.items()
    )
