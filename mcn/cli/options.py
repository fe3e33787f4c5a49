"""Options and arguments that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

CatalogUri = Annotated[str, typer.Argument(metavar="CATALOG", help="Folder or URI of a catalogue.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME|VERSION",
        help="The catalogue as it was: a version (see mcn catalog history), a date (its end), or "
        "a time in ISO 8601 (UTC unless it says otherwise).",
    ),
]
SegmenterName = Annotated[
    str, typer.Option("--segmenter", help="compact, vit_b, vit_l, vit_h, watershed, or a file.")
]
Prompts = Annotated[
    Literal["proposals", "grid"] | None,
    typer.Option(
        "--prompts",
        help="With vit_b, vit_l, vit_h: prompt with the crystals that compact proposes (the "
        "default), or with a grid of points.",
    ),
]
ClassifierName = Annotated[
    str, typer.Option("--classifier", help="nsr, published, or a weights file.")
]
ClassOrder = Annotated[
    str,
    typer.Option(
        help="Shapes of classes 0, 1, … of the published network, by default as its training "
        "numbered them; its released plots show polyhedral,amorphous,rhombic,spherical."
    ),
]
