"""Commands about a catalogue: `mcn query`, `mcn log`, `mcn export`, `mcn catalog`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mcn.cli.console import print_json, say
from mcn.cli.options import AsJson, AsOfOption, CatalogUri
from mcn.cli.pages.versions import catalog_history
from mcn.cli.wells import wells_app

if TYPE_CHECKING:
    import pyarrow as pa

    from mcn.catalog.active_files import Depths
    from mcn.catalog.wells_table.places import Box

catalog_app = typer.Typer(help="Inspect and maintain a crystal catalogue.", no_args_is_help=True)
catalog_app.command("history")(catalog_history)

catalog_app.add_typer(wells_app, name="wells")

Wells = Annotated[list[str] | None, typer.Option("--well", help="Well; may be repeated.")]
Depth = Annotated[
    str | None,
    typer.Option(
        "--depth", metavar="A:B", help="Depths in metres, or 4000ft:4100ft; A or B may be omitted."
    ),
]
Formations = Annotated[
    list[str] | None,
    typer.Option("--formation", help="Formation, by imported tops; may be repeated."),
]
BoundingBox = Annotated[
    str | None,
    typer.Option("--bbox", metavar="W,S,E,N", help="Wells in this area, degrees of WGS 84."),
]
SegmenterOption = Annotated[
    str | None,
    typer.Option(help="Rows of this segmenter instead of the latest; its name or a prefix."),
]
ClassifierOption = Annotated[
    str | None,
    typer.Option(help="Rows of this classifier instead of the latest; its name or a prefix."),
]

CorrectedOption = Annotated[
    bool,
    typer.Option("--corrected", help="Use the values that persons corrected (docs/serving.md)."),
]


_SHOWN_OF_LOG: Final = (
    *("depth_top", "depth_base", "n_tiles", "few_tiles", "n_crystals"),
    *("fraction_", "median_equivalent_diameter_um", "low_median_equivalent_diameter_um"),
    *("high_median_equivalent_diameter_um", "corrected_median_equivalent_diameter_um"),
    *("sorting_phi", "crystal_area_fraction", "visible_pore_fraction"),
)
"""Columns of a log shown in a terminal, or their beginnings; files have all."""


def query(
    catalog: CatalogUri,
    well: Wells = None,
    depth: Depth = None,
    shape: Annotated[list[str] | None, typer.Option(help="Shape; may be repeated.")] = None,
    sql: Annotated[
        str | None,
        typer.Option(
            help="SQL over crystals and tiles, all_crystals and all_tiles (every model), wells "
            "and tops."
        ),
    ] = None,
    segmenter: SegmenterOption = None,
    classifier: ClassifierOption = None,
    formation: Formations = None,
    bbox: BoundingBox = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="Lowest confidence of a crystal, 0 to 1.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…|all",
            help="Columns, with commas between them; all includes the masks. By default a few.",
        ),
    ] = None,
    as_of: AsOfOption = None,
    corrected: CorrectedOption = False,
    limit: Annotated[int | None, typer.Option(min=0, help="Maximum number of rows.")] = None,
    sql_seconds: Annotated[float, typer.Option(help="With --sql: longest time, seconds.")] = 60.0,
    sql_memory: Annotated[int, typer.Option(help="With --sql: most memory, MiB.")] = 2048,
    form: Annotated[
        str, typer.Option("--format", metavar="table|csv|json|parquet", help="Output format.")
    ] = "table",
) -> None:
    """List the crystals in these wells, at these depths, of these shapes."""
    from mcn.catalog import query as catalog_query
    from mcn.catalog.formats import write_table
    from mcn.catalog.reading.sql_limits import SqlLimits
    from mcn.catalog.store import Catalog

    opened = Catalog(catalog, as_of)
    if sql is not None:
        if well or depth or shape or formation or bbox or columns or min_confidence is not None:
            raise typer.BadParameter(
                "--sql excludes --well, --depth, --shape, --formation, --bbox, --columns and "
                "--min-confidence; put them into the SQL"
            )
        limits = SqlLimits(sql_seconds, sql_memory)
        rows: Any = catalog_query.sql(
            opened, sql, segmenter, classifier, limits, corrected=corrected
        )
        rows = rows if limit is None else rows.slice(0, limit)
    else:
        selection = catalog_query.Selection(
            well or (),
            _depths(depth),
            shape or (),
            segmenter,
            classifier,
            formations=formation or (),
            box=_box(bbox),
            columns=_columns(columns, corrected=corrected),
            min_confidence=min_confidence,
            corrected=corrected,
        )
        rows = catalog_query.iter_batches(opened, selection, limit)
    write_table(rows, form, sys.stdout.buffer)


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
    as_of: AsOfOption = None,
) -> None:
    """Depth logs of wells: shapes, sizes, contact and area against depth, with uncertainty."""
    from mcn.catalog.depth_log.table import depth_log, write_csv
    from mcn.catalog.depth_log.zones import find_zones
    from mcn.catalog.depths import parse_length
    from mcn.catalog.formats import row_objects, write_table
    from mcn.catalog.store import Catalog
    from mcn.catalog.wells import plain_well

    wells = list(dict.fromkeys(map(plain_well, well)))
    if las and len(wells) > 1:
        raise typer.BadParameter("a LAS file holds one well; give --las with a single --well")
    if flatten and not png:
        raise typer.BadParameter("--flatten is for the picture; give --png too")
    opened = Catalog(catalog, as_of)
    length = None if step is None else parse_length(step)
    window = _depths(depth)
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
        names = [name for name in shown.column_names if name.startswith(("well", *_SHOWN_OF_LOG))]
        write_table(shown.select(names), "table", sys.stdout.buffer)
    for path in filter(None, (csv, las, png)):
        say(f"wrote {path}")


def export(
    catalog: CatalogUri,
    out: Annotated[Path, typer.Argument(help="File to write; a folder with --labels.")],
    well: Wells = None,
    depth: Depth = None,
    segmenter: SegmenterOption = None,
    classifier: ClassifierOption = None,
    formation: Formations = None,
    bbox: BoundingBox = None,
    corrected: CorrectedOption = False,
    form: Annotated[
        str, typer.Option("--format", metavar="coco|csv|parquet|geojson", help="What to write.")
    ] = "coco",
    labels: Annotated[
        bool,
        typer.Option("--labels", help="Write crops and a labels.csv, to correct and train on."),
    ] = False,
    limit: Annotated[
        int,
        typer.Option(
            min=1, help="With --labels: maximum number of crystals, the least certain first."
        ),
    ] = 500,
    as_of: AsOfOption = None,
) -> None:
    """Write the crystals of wells and depths for other programs, or to be labelled."""
    from mcn.catalog.correcting.label_sheet import export_labels
    from mcn.catalog.export import export as write
    from mcn.catalog.store import Catalog

    opened = Catalog(catalog, as_of)
    wells, depths = well or (), _depths(depth)
    places: Any = {"formations": formation or (), "box": _box(bbox)}
    if labels:
        exported = export_labels(opened, out, wells, depths, limit, segmenter, classifier, **places)
        for reason in exported.skipped:
            say(f"left out: {reason}")
        say(
            f"{exported.crystals} crystals in {exported.sheet}; correct its column shape, "
            "then train on it"
        )
        return
    rows = write(
        opened,
        out,
        form,
        wells,
        depths,
        segmenter,
        classifier,
        **places,
        corrected=corrected,
    )
    say(f"{rows} crystals in {out}")


@catalog_app.command("info")
def catalog_info(
    catalog: CatalogUri,
    wells: Annotated[bool, typer.Option("--wells", help="List the wells.")] = False,
    as_json: AsJson = False,
    as_of: AsOfOption = None,
) -> None:
    """Summarise a catalogue: wells, depths, models, versions, files; --wells lists the wells."""
    from mcn.catalog.store import Catalog
    from mcn.catalog.upkeep import maintenance
    from mcn.cli.pages.info import info_page, wells_page

    summary = maintenance.info(Catalog(catalog, as_of))
    if as_json:
        print_json(summary)
    else:
        typer.echo(wells_page(summary) if wells else info_page(summary))


@catalog_app.command("verify")
def catalog_verify(catalog: CatalogUri) -> None:
    """Open every data file with two libraries and compare counts with the log."""
    from mcn.catalog.store import Catalog
    from mcn.catalog.upkeep import maintenance

    report = maintenance.verify(Catalog.open(catalog))
    print_json(report.as_dict())
    if not report.ok:
        raise typer.Exit(1)


@catalog_app.command("compact")
def catalog_compact(
    catalog: CatalogUri,
    target_mb: Annotated[int, typer.Option(min=1, help="Target size of a file, MiB.")] = 32,
) -> None:
    """Rewrite many small data files as fewer large ones."""
    from mcn.catalog.store import Catalog
    from mcn.catalog.upkeep import maintenance

    print_json(maintenance.compact(Catalog.open(catalog), target_mb * 2**20))


@catalog_app.command("vacuum")
def catalog_vacuum(
    catalog: CatalogUri,
    keep_hours: Annotated[int, typer.Option(min=0, help="Keep files younger than this.")] = 168,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files without deleting them.")
    ] = False,
) -> None:
    """Delete data files that no recent snapshot needs."""
    from mcn.catalog.store import Catalog
    from mcn.catalog.upkeep import maintenance

    files = maintenance.vacuum(Catalog.open(catalog), keep_hours, dry_run=dry_run)
    print_json({"files": files, "deleted": not dry_run})


def _depths(text: str | None) -> Depths | None:
    from mcn.catalog.depths import parse_depth

    return None if text is None else parse_depth(text)


def _columns(text: str | None, *, corrected: bool) -> Sequence[str] | None:
    """Names of columns; None for all."""
    from mcn.catalog.corrected.rows import CORRECTED
    from mcn.catalog.query import FEW_COLUMNS

    if text is None:
        return [*FEW_COLUMNS, *CORRECTED.names] if corrected else FEW_COLUMNS
    names = [name.strip() for name in text.split(",")]
    return None if names == ["all"] else list(filter(None, names))


def _box(text: str | None) -> Box | None:
    from mcn.catalog.wells_table.places import parse_box

    return None if text is None else parse_box(text)


def _joined(tables: Mapping[str, pa.Table]) -> pa.Table:
    """The tables of several wells below each other, with a column `well`; one stays as it is."""
    import pyarrow as pa

    if len(tables) == 1:
        return next(iter(tables.values()))
    return pa.concat_tables(
        table.add_column(0, "well", pa.repeat(well, table.num_rows)).replace_schema_metadata()
        for well, table in tables.items()
    )
