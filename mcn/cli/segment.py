"""`mcn segment`: the crystals of single micrographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcn.cli.console import possible_size, print_json, progress_bar, say
from mcn.cli.options import AsJson, ClassifierName, SegmenterName


def segment(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="Micrographs.")],
    out: Annotated[Path, typer.Option(help="Folder for overlays and crystals.json.")],
    segmenter: SegmenterName = "compact",
    classifier: ClassifierName = "nsr",
    pixel_size_um: Annotated[
        float | None,
        typer.Option(
            "--pixel-size", help="Micrometres per pixel, if known.", callback=possible_size
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also draw heat maps that explain each shape.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find, name and measure the crystals of single micrographs."""
    from mcn.cli.analyze import analyze_files
    from mcn.io.output_names import one_line_name
    from mcn.micrograph import page_note

    with progress_bar("analysing", len(images)) as advance:
        report, failed = analyze_files(
            images, out, segmenter, classifier, pixel_size_um, advance, explain=explain
        )
    for image in report["images"]:
        name = one_line_name(image["image"])
        say(f"{name}: {len(image['crystals'])} crystals, {image['overlay']}")
        if note := page_note(image["pages"]):
            say(f"warning: {name}: {note}")
    if explain and report["images"]:
        say(f"heat maps: {out / '*.explain.png'}")
    for message in failed:
        say(f"error: {one_line_name(message)}")
    if as_json:
        print_json(report)
    if failed:
        raise typer.Exit(1)
