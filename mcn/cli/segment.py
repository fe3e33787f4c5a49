"""`mcn segment`: analyse single micrographs; crystals as rows, and overlay pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mcn.cli.console import possible_size, print_json, progress_bar, say
from mcn.cli.options import AsJson, ClassifierName, Prompts, SegmenterName
from mcn.errors import McnError


def segment(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="Micrographs.")],
    out: Annotated[Path, typer.Option(help="Folder for overlays and crystals.json.")],
    segmenter: SegmenterName = "compact",
    prompts: Prompts = None,
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
    from mcn.io.output_names import one_line_name
    from mcn.segment import with_prompts

    model = with_prompts(segmenter, prompts)
    with progress_bar("analysing", len(images)) as advance:
        report, failed = analyze_files(
            images, out, model, classifier, pixel_size_um, advance, explain=explain
        )
    for image in report["images"]:
        name = one_line_name(image["image"])
        say(f"{name}: {len(image['crystals'])} crystals, {image['overlay']}")
        if note := image["note"]:
            say(f"warning: {name}: {note}")
    if explain and report["images"]:
        say(f"heat maps: {out / '*.explain.png'}")
    for message in failed:
        say(f"error: {one_line_name(message)}")
    if as_json:
        print_json(report)
    if failed:
        raise typer.Exit(1)


def analyze_files(
    images: Sequence[str],
    out: Path,
    segmenter: str = "compact",
    classifier: str = "nsr",
    pixel_size_um: float | None = None,
    on_image: Callable[[], None] | None = None,
    explain: bool = False,
) -> tuple[dict[str, Any], list[str]]:
    """Analyse pictures one by one, and write `crystals.json` and an overlay PNG of each.

    Parameters
    ----------
    images : sequence of str
        Paths or URIs.
    out : Path
        Folder to write to.
    segmenter, classifier : str
        Names or weights files.
    pixel_size_um : float, optional
        Micrometres per pixel, in place of the files' own pixel size.
    on_image : callable, optional
        Called after each picture.
    explain : bool
        Also write a `contact_sheet` of each picture's crystals.

    Returns
    -------
    report : dict
        `{"images": [{"image", "pixel_size_um", "pages", "note", "overlay", "crystals": [row, …]},
        …]}`; `pages` counts the pictures in the file, of which the first was analysed, and
        `note` is what was ignored, or null.
    failed : list of str
        One line for each picture that could not be analysed.
    """
    from mcn.analyzer import Analyzer
    from mcn.catalog.formats import row_objects
    from mcn.catalog.schema import picture_crystals
    from mcn.classify import load_classifier
    from mcn.io.output_names import output_names
    from mcn.io.output_paths import prepare_folder
    from mcn.micrograph import read_micrograph
    from mcn.plots import overlay_figure
    from mcn.segment import load_segmenter

    prepare_folder(out)
    shape_classifier = load_classifier(classifier)
    analyzer = Analyzer(load_segmenter(segmenter), shape_classifier)
    report: dict[str, Any] = {"images": []}
    failed: list[str] = []
    names = output_names(images)
    for image, name in zip(images, names, strict=True):
        try:
            micrograph = read_micrograph(image, pixel_size_um=pixel_size_um)
        except McnError as error:
            failed.append(str(error))
        else:
            segmented = analyzer.segment([micrograph])
            (crystals,) = analyzer.classify(segmented)
            overlay = out / f"{name}.overlay.png"
            figure = overlay_figure(micrograph.pixels, crystals, micrograph.pixel_size_um, image)
            figure.savefig(overlay)
            if explain:
                from mcn.classify.explanation.contact_sheet import contact_sheet

                sheet = contact_sheet(shape_classifier, crystals, segmented[0].crops, image)
                sheet.savefig(out / f"{name}.explain.png")
            report["images"].append(
                {
                    "image": image,
                    "pixel_size_um": micrograph.pixel_size_um,
                    "pages": micrograph.pages,
                    "note": micrograph.note,
                    "overlay": str(overlay),
                    "crystals": row_objects(
                        picture_crystals(
                            image, crystals, analyzer.segmenter.name, analyzer.classifier.name
                        )
                    ),
                }
            )
        if on_image is not None:
            on_image()
    (out / "crystals.json").write_text(json.dumps(report))
    return report, failed
