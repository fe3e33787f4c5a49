"""Commands about a catalogue: `mcn query`, `mcn export`, `mcn catalog`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcn.cli.console import print_json, say
from mcn.cli.corrections import export_corrections
from mcn.cli.geology.wells import wells_app
from mcn.cli.options import AsJson, AsOfOption, CatalogUri
from mcn.cli.pages.versions import catalog_history

if TYPE_CHECKING:
    from mcn.catalog.active_files import Depths
    from mcn.catalog.selection import Selection
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
            parse_depths(depth),
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


def export(
    catalog: CatalogUri,
    out: Annotated[
        Path,
        typer.Argument(
            help="File; a folder with --labels, --corrections, --per-tile, --format labels."
        ),
    ],
    well: Wells = None,
    depth: Depth = None,
    segmenter: SegmenterOption = None,
    classifier: ClassifierOption = None,
    formation: Formations = None,
    bbox: BoundingBox = None,
    corrected: CorrectedOption = False,
    form: Annotated[
        str,
        typer.Option("--format", metavar="coco|csv|parquet|geojson|labels", help="What to write."),
    ] = "coco",
    per_tile: Annotated[
        bool,
        typer.Option("--per-tile", help="One GeoJSON file per tile, to open on its picture."),
    ] = False,
    labels: Annotated[
        bool,
        typer.Option("--labels", help="Write crops and a labels.csv, to correct and train on."),
    ] = False,
    corrections: Annotated[
        bool,
        typer.Option(
            "--corrections",
            help="Write what persons corrected, to train on: crops and a labels.csv for a "
            "classifier, images and masks for a segmenter.",
        ),
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
    wells, depths = well or (), parse_depths(depth)
    places: Any = {"formations": formation or (), "box": _box(bbox)}
    if corrections:
        export_corrections(
            opened,
            out,
            parse_selection(well, depth, formation, bbox, segmenter, classifier),
        )
        return
    if labels:
        exported = export_labels(
            opened,
            out,
            wells,
            depths,
            limit,
            segmenter,
            classifier,
            **places,
            corrected=corrected,
        )
        for reason in exported.skipped:
            say(f"left out: {reason}")
        say(
            f"{exported.crystals} crystals in {exported.sheet}; correct its column shape, then "
            "train on it"
        )
        return
    if per_tile or form == "labels":
        from mcn.catalog.tile_files.export_tiles import export_tiles

        selection = parse_selection(
            well, depth, formation, bbox, segmenter, classifier, corrected=corrected
        )
        written = export_tiles(opened, out, form, selection)
        say(f"{written.crystals} crystals of {written.tiles} tiles; {written.index} names them")
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


def parse_depths(text: str | None) -> Depths | None:
    """The value of the option --depth."""
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


def parse_selection(
    well: list[str] | None,
    depth: str | None,
    formation: list[str] | None,
    bbox: str | None,
    segmenter: str | None,
    classifier: str | None,
    *,
    corrected: bool = False,
) -> Selection:
    """The selection that options describe."""
    from mcn.catalog.selection import Selection

    return Selection(
        well or (),
        parse_depths(depth),
        segmenter=segmenter,
        classifier=classifier,
        formations=formation or (),
        box=_box(bbox),
        corrected=corrected,
    )
