"""`mcn figure`: figures of a catalogue for reports and papers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mcn.cli.catalog import (
    BoundingBox,
    ClassifierOption,
    CorrectedOption,
    Depth,
    Formations,
    SegmenterOption,
    Wells,
    parse_selection,
)
from mcn.cli.console import say
from mcn.cli.options import AsOfOption, CatalogUri

if TYPE_CHECKING:
    from matplotlib.figure import Figure

figure_app = typer.Typer(help="Draw figures of a catalogue.", no_args_is_help=True)

Out = Annotated[Path, typer.Argument(metavar="OUT", help="PNG, SVG or PDF file to write.")]


@figure_app.command("sizes")
def sizes(
    catalog: CatalogUri,
    out: Out,
    by: Annotated[Literal["well", "shape"] | None, typer.Option(help="One curve for each.")] = None,
    well: Wells = None,
    depth: Depth = None,
    formation: Formations = None,
    bbox: BoundingBox = None,
    segmenter: SegmenterOption = None,
    classifier: ClassifierOption = None,
    as_of: AsOfOption = None,
    corrected: CorrectedOption = False,
) -> None:
    """Size distribution by number and by area, with the resolvable limit."""
    from mcn.catalog.figures.sizes import size_distributions, size_figure
    from mcn.catalog.store import Catalog

    selection = parse_selection(
        well, depth, formation, bbox, segmenter, classifier, corrected=corrected
    )
    distributions = size_distributions(Catalog(catalog, as_of), selection, by)
    _write(size_figure(distributions, _title(well, depth, formation)), out)


@figure_app.command("ternary")
def ternary(
    catalog: CatalogUri,
    out: Out,
    well: Annotated[str, typer.Option(help="Well.")],
    step: Annotated[float | None, typer.Option(help="Length of an interval, metres.")] = None,
    corners: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C+D", help="Shapes of the corners; rhombic,polyhedral,amorphous+spherical."
        ),
    ] = None,
    segmenter: SegmenterOption = None,
    classifier: ClassifierOption = None,
    as_of: AsOfOption = None,
    corrected: CorrectedOption = False,
) -> None:
    """Shapes of the intervals of a well in a triangle."""
    from mcn.catalog.depth_log.table import depth_log
    from mcn.catalog.figures.ternary import CALCITE_CORNERS, parse_corners, ternary_figure
    from mcn.catalog.store import Catalog

    log = depth_log(Catalog(catalog, as_of), well, step, segmenter, classifier, corrected=corrected)
    chosen = parse_corners(corners) if corners else CALCITE_CORNERS
    _write(ternary_figure(log, chosen, f"Well {well}"), out)


@figure_app.command("crystals")
def crystals(
    catalog: CatalogUri,
    out: Out,
    each: Annotated[int, typer.Option(min=1, max=40, help="Crystals of each shape.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other crystals.")] = 0,
    well: Wells = None,
    depth: Depth = None,
    formation: Formations = None,
    bbox: BoundingBox = None,
    segmenter: SegmenterOption = None,
    classifier: ClassifierOption = None,
    as_of: AsOfOption = None,
    corrected: CorrectedOption = False,
) -> None:
    """Crystals of each shape, drawn at random, from their tiles' pictures."""
    from mcn.catalog.figures.crystal_sheet import crystal_sheet, read_crops, sample_crystals
    from mcn.catalog.store import Catalog

    opened = Catalog(catalog, as_of)
    selection = parse_selection(
        well, depth, formation, bbox, segmenter, classifier, corrected=corrected
    )
    rows = sample_crystals(opened, selection, each, seed)
    crops, skipped = read_crops(opened, selection, rows)
    for reason in skipped:
        say(f"left out: {reason}")
    _write(crystal_sheet(rows, crops, opened.shapes, _title(well, depth, formation)), out)


def _title(well: list[str] | None, depth: str | None, formation: list[str] | None) -> str:
    parts = [f"Well {', '.join(well)}" if well else "", ", ".join(formation or ()), depth or ""]
    return " · ".join(filter(None, parts)) or "All wells"


def _write(figure: Figure, out: Path) -> None:
    from mcn.plots import write_figure

    write_figure(figure, out)
    say(f"wrote {out}")
