"""Commands about versions: `mcn catalog history` and `mcn compare`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mcn.cli.console import print_json, say
from mcn.cli.options import AsJson, AsOfOption, CatalogUri


def catalog_history(catalog: CatalogUri, as_json: AsJson = False) -> None:
    """List the versions of a catalogue: when, what was done, and how many rows and files."""
    from mcn.catalog.formats import row_objects, write_table
    from mcn.catalog.reading.versions import history
    from mcn.catalog.store import Catalog

    versions = history(Catalog(catalog))
    if as_json:
        print_json({"versions": row_objects(versions)})
    else:
        write_table(versions, "table", sys.stdout.buffer)


def compare(
    catalog: CatalogUri,
    segmenter: Annotated[
        list[str] | None,
        typer.Option(help="Segmenter, its name or a prefix; give two to compare them."),
    ] = None,
    classifier: Annotated[
        list[str] | None,
        typer.Option(help="Classifier, its name or a prefix; give two to compare them."),
    ] = None,
    well: Annotated[list[str] | None, typer.Option("--well", help="Well; may be repeated.")] = None,
    depth: Annotated[
        str | None, typer.Option("--depth", metavar="A:B", help="Depths, as in mcn query.")
    ] = None,
    step: Annotated[
        str, typer.Option(help="Length of an interval, metres, or feet as in 10ft.")
    ] = "10",
    as_of: AsOfOption = None,
    form: Annotated[
        str, typer.Option("--format", metavar="table|csv|json|parquet", help="Output format.")
    ] = "table",
) -> None:
    """Compare two models interval by interval, over the tiles that both have read."""
    from mcn.catalog.depth_log.comparison import compare_models, two_models
    from mcn.catalog.depths import parse_depth, parse_length
    from mcn.catalog.formats import write_table
    from mcn.catalog.store import Catalog

    pairs = two_models(segmenter or (), classifier or ())
    depths = None if depth is None else parse_depth(depth)
    compared = compare_models(
        Catalog(catalog, as_of), *pairs, well or (), depths, parse_length(step)
    )
    for side, pair in zip("ab", pairs, strict=True):
        say(f"{side}: {' with '.join(filter(None, (pair.segmenter, pair.classifier)))}")
    write_table(compared, form, sys.stdout.buffer)
