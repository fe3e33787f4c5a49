"""`mcn catalog wells`: names, places and formation tops of wells."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mcn.cli.console import print_json, say
from mcn.cli.options import AsJson, AsOfOption, CatalogUri

wells_app = typer.Typer(help="Names, places and formation tops of wells.", no_args_is_help=True)

_SHOWN = 5


@wells_app.command("import")
def import_(
    catalog: CatalogUri,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="CSV or Parquet: well, name, uwi, latitude, longitude, operator, datum, or tops: "
            "well, formation, depth_m or depth_ft.",
        ),
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Forget what these files do not say.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add what files say about wells, and the tops of their formations."""
    from mcn.catalog.store import Catalog
    from mcn.catalog.wells_table.table import import_wells

    imported = import_wells(Catalog.open(catalog), files, replace=replace)
    if as_json:
        print_json(vars(imported))
        return
    say(
        f"{imported.wells} wells and {imported.tops} tops imported; {imported.total} wells are "
        "known now"
    )
    if missing := imported.without_tiles:
        names = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
        say(
            f"{len(missing)} of them have no tiles yet ({names}); if they should, write the wells "
            "as `mcn catalog info` lists them"
        )


@wells_app.command("list")
def list_(
    catalog: CatalogUri,
    tops: Annotated[bool, typer.Option("--tops", help="One row per top.")] = False,
    as_of: AsOfOption = None,
    form: Annotated[
        str, typer.Option("--format", metavar="table|csv|json|parquet", help="Output format.")
    ] = "table",
) -> None:
    """List the wells as imported, or the tops of their formations."""
    from mcn.catalog.formats import write_table
    from mcn.catalog.store import Catalog
    from mcn.catalog.wells_table.table import read_wells, tops_of
    from mcn.catalog.wells_table.wells_file import HEADER

    wells = read_wells(Catalog(catalog, as_of))
    rows = tops_of(wells) if tops else wells.select(["well", *HEADER])
    write_table(rows, form, sys.stdout.buffer)
