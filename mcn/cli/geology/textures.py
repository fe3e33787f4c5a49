"""`mcn textures`: the microtextures of a well's intervals by published schemes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mcn.cli.catalog import (
    ClassifierOption,
    CorrectedOption,
    Depth,
    SegmenterOption,
    parse_depths,
)
from mcn.cli.console import say
from mcn.cli.options import AsOfOption, CatalogUri


def textures(
    catalog: CatalogUri,
    well: Annotated[str, typer.Option(help="Well.")],
    step: Annotated[
        str | None, typer.Option(help="Length of an interval, metres, or feet as in 10ft.")
    ] = None,
    depth: Depth = None,
    schemes: Annotated[
        str | None, typer.Option(metavar="FILE", help="Rules instead of the default ones, TOML.")
    ] = None,
    segmenter: SegmenterOption = None,
    classifier: ClassifierOption = None,
    as_of: AsOfOption = None,
    corrected: CorrectedOption = False,
    form: Annotated[
        str, typer.Option("--format", metavar="table|csv|json|parquet", help="Output format.")
    ] = "table",
) -> None:
    """Name the microtexture of each interval by published schemes, with probabilities."""
    from mcn.catalog.depths import parse_length
    from mcn.catalog.formats import write_table
    from mcn.catalog.store import Catalog
    from mcn.catalog.textures.schemes import CANNOT_TELL, read_schemes
    from mcn.catalog.textures.table import texture_table

    chosen = read_schemes(schemes)
    table = texture_table(
        Catalog(catalog, as_of),
        well,
        None if step is None else parse_length(step),
        segmenter,
        classifier,
        depth=parse_depths(depth),
        schemes=chosen,
        corrected=corrected,
    )
    write_table(table, form, sys.stdout.buffer)
    for scheme in chosen:
        say(f"{scheme.key}: {scheme.title}; porosity and permeability: {scheme.flow}")
    say(CANNOT_TELL)
