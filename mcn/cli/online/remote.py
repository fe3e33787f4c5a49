"""Commands that use an endpoint: `mcn remote`; the token comes from MCN_TOKEN."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mcn.cli.catalog import ClassifierOption, CorrectedOption, Depth, SegmenterOption
from mcn.cli.console import possible_size, print_json, progress_bar, say
from mcn.cli.options import AsJson, AsOfOption

if TYPE_CHECKING:
    from serve.schemas import Analysis

remote_app = typer.Typer(help="Use an endpoint that runs elsewhere.", no_args_is_help=True)

Url = Annotated[str, typer.Option(help="Address of the endpoint.")]
WellArg = Annotated[str, typer.Argument(metavar="WELL", help="A well, as `remote wells` names it.")]

_URL = "http://127.0.0.1:8000"


@remote_app.command("analyze")
def remote_analyze(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Micrographs.")],
    url: Url = _URL,
    out: Annotated[Path | None, typer.Option(help="Folder for an overlay of each picture.")] = None,
    pixel_size_um: Annotated[
        float | None,
        typer.Option(
            "--pixel-size", help="Micrometres per pixel, if known.", callback=possible_size
        ),
    ] = None,
    min_confidence: Annotated[float, typer.Option(min=0, max=1)] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Find, name and measure crystals; a picture too large for one request runs as a job."""
    from mcn.io.output_names import one_line_name, output_names
    from mcn.io.output_paths import prepare_folder
    from serve.client import Client, ClientError

    report: list[dict[str, Any]] = []
    failed = 0
    names = output_names(list(map(str, images)))
    if out is not None:
        prepare_folder(out)
    with Client(url) as client, progress_bar("pictures", len(images)) as advance:
        for number, (image, name) in enumerate(zip(images, names, strict=True)):
            shown = one_line_name(str(image))
            try:
                analysis = client.analyze(
                    image,
                    pixel_size_um=pixel_size_um,
                    min_confidence=min_confidence,
                    report=partial(_advance, advance, number),
                )
            except ClientError as error:
                failed += 1
                say(f"error: {shown}: {one_line_name(str(error))}")
                continue
            finally:
                advance(number + 1)
            if out is not None:
                _draw_overlay(image, analysis, out / f"{name}.overlay.png")
            report.append(analysis.model_dump())
            say(
                f"{shown}: {len(analysis.crystals)} crystals by {analysis.segmenter}, "
                f"{analysis.classifier}"
            )
            if analysis.note:
                say(f"warning: {shown}: {analysis.note}")
    if as_json:
        print_json({"images": report})
    if failed:
        raise typer.Exit(1)


@remote_app.command("segment")
def remote_segment(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A micrograph.")],
    point: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="A pixel on a crystal; may be repeated.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LEFT,TOP,RIGHT,BOTTOM", help="A box around a crystal; may be repeated."
        ),
    ] = None,
    url: Url = _URL,
    as_json: AsJson = False,
) -> None:
    """Segment the crystals at points or in boxes."""
    from serve.client import Client

    points, boxes = _numbers("--point", point, 2), _numbers("--box", box, 4)
    if bool(points) == bool(boxes):
        raise typer.BadParameter("give --point or --box")
    with Client(url) as client:
        prompted = client.segment(image, {"points": points} if points else {"boxes": boxes})
    for mask in prompted.masks:
        say(f"{mask.area_px} pixels at {mask.bbox_x},{mask.bbox_y}, IoU {mask.predicted_iou:.2f}")
    if as_json:
        print_json(prompted.model_dump())


@remote_app.command("wells")
def remote_wells(as_of: AsOfOption = None, url: Url = _URL, as_json: AsJson = False) -> None:
    """List the wells of the endpoint's catalogue."""
    from serve.client import Client

    with Client(url) as client:
        wells = client.wells(as_of)
    if as_json:
        print_json({"wells": [well.model_dump() for well in wells]})
        return
    for well in wells:
        typer.echo(
            f"{well.well}: {well.tiles} tiles, {well.crystals} crystals, "
            f"{well.depth_min_m:g} to {well.depth_max_m:g} m"
        )


@remote_app.command("crystals")
def remote_crystals(
    well: WellArg,
    depth: Depth = None,
    shape: Annotated[list[str] | None, typer.Option(help="Shape; may be repeated.")] = None,
    segmenter: SegmenterOption = None,
    classifier: ClassifierOption = None,
    as_of: AsOfOption = None,
    corrected: CorrectedOption = False,
    form: Annotated[
        str, typer.Option("--format", metavar="table|csv|json|parquet", help="Output format.")
    ] = "table",
    url: Url = _URL,
) -> None:
    """List the crystals of a well, as `mcn query` does."""
    from mcn.catalog.formats import write_table
    from serve.client import Client

    with Client(url) as client:
        pages = client.crystals(
            well, depth, shape or (), segmenter, classifier, corrected=corrected, as_of=as_of
        )
        write_table(pages, form, sys.stdout.buffer)


@remote_app.command("log")
def remote_log(
    well: WellArg,
    step: Annotated[
        str | None, typer.Option(help="Length of an interval, metres, or feet as in 10ft.")
    ] = None,
    depth: Depth = None,
    segmenter: SegmenterOption = None,
    classifier: ClassifierOption = None,
    as_of: AsOfOption = None,
    corrected: CorrectedOption = False,
    form: Annotated[
        Literal["csv", "json", "las", "png"], typer.Option("--format", help="Output format.")
    ] = "csv",
    out: Annotated[Path | None, typer.Option(help="File to write.")] = None,
    url: Url = _URL,
) -> None:
    """Depth log of a well."""
    from mcn.catalog.depths import parse_length
    from serve.client import Client

    if form == "png" and out is None:
        raise typer.BadParameter("--format png needs --out")
    with Client(url) as client:
        content = client.log(
            well,
            form,
            None if step is None else parse_length(step),
            segmenter,
            classifier,
            depth=depth,
            corrected=corrected,
            as_of=as_of,
        )
    if out is None:
        sys.stdout.buffer.write(content)
    else:
        out.write_bytes(content)
        say(f"wrote {out}")


def _advance(advance: Callable[..., None], pictures: int, share: float) -> None:
    """Move the bar to a share of the picture after so many."""
    advance(pictures + share)


def _numbers(option: str, texts: list[str] | None, count: int) -> list[list[float]]:
    """The comma-separated numbers of each of an option's values."""
    try:
        values = [[float(word) for word in text.split(",")] for text in texts or ()]
    except ValueError:
        values = [[]]
    if any(len(numbers) != count for numbers in values):
        raise typer.BadParameter(f"{option} takes {count} numbers with commas between them")
    return values


def _draw_overlay(image: Path, analysis: Analysis, path: Path) -> None:
    """Draw the crystals of an analysis on the picture, as the endpoint would in a second one."""
    import json

    import pyarrow as pa

    from mcn.micrograph import read_micrograph
    from mcn.plots import overlay_figure
    from mcn.taxonomy import SHAPES

    rows = analysis.model_dump()["crystals"]
    names = [name for name in (rows[0] if rows else {}) if name.startswith("p_")]
    shapes = [name for name in names if rows[0][name] is not None] or [f"p_{s}" for s in SHAPES]
    columns = {name: [row[name] for row in rows] for name in ("shape", *shapes)}
    columns["mask_rle"] = [json.dumps(row["mask_rle"]) for row in rows]
    pixels = read_micrograph(image, pixel_size_um=analysis.pixel_size_um).pixels
    overlay_figure(pixels, pa.table(columns), analysis.pixel_size_um, str(image)).savefig(path)
