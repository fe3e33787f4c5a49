"""`mcn demo`: run the whole pipeline on a rendered core, and compare the result with the truth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcn.cli.console import progress_bar
from mcn.errors import McnError
from mcn.taxonomy import SHAPES

if TYPE_CHECKING:
    from rich.console import Console

    from mcn.catalog.store import Catalog
    from mcn.synthetic.core import CoreTruth

WELLS, TILES, SEED = 3, 24, 0

_BY_ZONE = f"""
    WITH found AS (
        SELECT truth.zone, crystals.*
        FROM crystals JOIN truth ON crystals.well = truth.well
            AND abs(crystals.depth_m - truth.depth_m) < 0.005
    ), rendered AS (
        SELECT truth.zone, truth_crystals.*
        FROM truth_crystals JOIN truth ON truth_crystals.tile = truth.tile
    )
    SELECT zone, r.n AS rendered, f.n AS found,
        {", ".join(f"r.{shape} AS r_{shape}, f.{shape} AS f_{shape}" for shape in SHAPES)},
        r.diameter AS r_diameter, f.diameter AS f_diameter
    FROM (SELECT zone, count(*) AS n, avg(equivalent_diameter_um) AS diameter,
            {", ".join(f"avg((shape = '{shape}')::INT) AS {shape}" for shape in SHAPES)}
          FROM rendered GROUP BY zone) AS r
    LEFT JOIN (SELECT zone, count(*) AS n, avg(equivalent_diameter_um) AS diameter,
            {", ".join(f"avg((shape = '{shape}')::INT) AS {shape}" for shape in SHAPES)}
          FROM found GROUP BY zone) AS f USING (zone)
    ORDER BY (SELECT min(depth_m) FROM truth WHERE truth.zone = r.zone)
"""


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("demo"),
) -> None:
    """Render a core, scan it, query it and draw it; no arguments needed."""
    from rich.console import Console

    from mcn.catalog.store import Catalog
    from mcn.synthetic.core import render_core
    from pipelines.scan import run_scan

    console = Console()
    console.width = max(console.width, 110)  # so that the table is readable in logs too
    core, catalog_folder = out / "core", out / "catalog"
    with progress_bar("rendering a core", TILES) as advance:
        truth = render_core(core, WELLS, TILES, SEED, on_tile=lambda *_: advance())
    console.print(f"[bold]core[/]     {TILES} tiles of {WELLS} wells in {core}")
    summary = run_scan(str(core), str(catalog_folder))
    console.print(
        f"[bold]scan[/]     {summary.tiles_ok} tiles, {summary.tiles_failed} failed, "
        f"{summary.tiles_skipped} skipped; {summary.crystals} crystals in "
        f"{summary.seconds:.0f} s by {summary.segmenter} and {summary.classifier}"
    )
    catalog = Catalog.open(str(catalog_folder))
    _show_query(catalog, min(truth.tiles["well"].to_pylist()), console)
    pictures = _draw(catalog, truth, out)
    _compare(catalog, truth, console)
    console.print("[bold]pictures[/]")
    for picture in pictures:
        console.print(f"  {picture}", soft_wrap=True)
    program = sys.argv[0] if Path(sys.argv[0]).name == "mcn" else "mcn"
    console.print(
        f"[bold]look[/]     {program} view {catalog_folder}    opens it in a browser: "
        "click a depth, a tile, a crystal, and put it right",
        soft_wrap=True,
    )


def _show_query(catalog: Catalog, well: str, console: Console) -> None:
    from mcn.catalog.query import query

    crystals = query(catalog, [well], (1200.0, 1250.0))
    counts = crystals.group_by("shape").aggregate([("shape", "count")])
    by_shape = ", ".join(f"{row['shape_count']} {row['shape']}" for row in counts.to_pylist())
    console.print(
        f"[bold]query[/]    mcn query {catalog.uri} --well {well} --depth 1200:1250",
        soft_wrap=True,
    )
    console.print(f"         {crystals.num_rows} crystals: {by_shape or 'none'}")


def _draw(catalog: Catalog, truth: CoreTruth, out: Path) -> list[Path]:
    """Depth logs of all wells and overlays of the shallowest and the deepest tile."""
    from mcn.catalog.depth_log.plot import write_png
    from mcn.catalog.depth_log.table import depth_log
    from mcn.catalog.query import query
    from mcn.micrograph import read_micrograph
    from mcn.plots import overlay_figure

    pictures = []
    for well in sorted(set(truth.tiles["well"].to_pylist())):
        picture = out / f"log_{well}.png"
        write_png(depth_log(catalog, well), well, picture)
        pictures.append(picture)
    by_depth = truth.tiles.sort_by("depth_m")
    for row in (by_depth.slice(0, 1).to_pylist()[0], by_depth.slice(TILES - 1, 1).to_pylist()[0]):
        path = truth.out / row["tile"]
        depth = row["depth_m"]
        rows = query(catalog, [row["well"]], (depth - 0.005, depth + 0.005))
        picture = out / f"overlay_{path.stem}.png"
        title = f"{row['well']}, {depth:.2f} m, {row['zone']}"
        micrograph = read_micrograph(path)
        figure = overlay_figure(micrograph.pixels, rows, micrograph.pixel_size_um, title)
        figure.savefig(picture)
        pictures.append(picture)
    return pictures


def _compare(catalog: Catalog, truth: CoreTruth, console: Console) -> None:
    import duckdb
    from rich.table import Table

    from mcn.catalog.query import sql

    crystals = sql(catalog, "SELECT well, depth_m, shape, equivalent_diameter_um FROM crystals")
    with duckdb.connect() as connection:
        connection.register("crystals", crystals)
        connection.register("truth", truth.tiles)
        connection.register("truth_crystals", truth.crystals)
        zones = connection.sql(_BY_ZONE).to_arrow_table().to_pylist()
    if not zones:
        raise McnError(f"{truth.out}: no rendered zone to compare with; render into a new folder")
    table = Table(title="found / rendered, by zone of the core", title_justify="left")
    for heading in ("zone", "crystals", *(f"% {shape}" for shape in SHAPES), "mean µm"):
        table.add_column(heading, justify="left" if heading == "zone" else "right")
    for zone in zones:
        table.add_row(
            zone["zone"],
            f"{zone['found'] or 0} / {zone['rendered']}",
            *(f"{_percent(zone[f'f_{s}'])} / {_percent(zone[f'r_{s}'])}" for s in SHAPES),
            f"{zone['f_diameter'] or 0:.2f} / {zone['r_diameter']:.2f}",
        )
    console.print(table)
    n_true, n_found = truth.crystals.num_rows, crystals.num_rows
    errors = [abs((zone[f"f_{s}"] or 0) - zone[f"r_{s}"]) for zone in zones for s in SHAPES]
    console.print(
        f"[bold]truth[/]    {n_found} crystals found, {n_true} rendered "
        f"({100 * (n_found - n_true) / n_true:+.0f} %); shape fractions by zone differ by "
        f"{100 * sum(errors) / len(errors):.1f} points on average, "
        f"{100 * max(errors):.1f} at most"
    )


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.0f}"
