"""`mcn core`: a synthetic core repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcn.cli.console import progress_bar, say


def core(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    wells: Annotated[int, typer.Option(min=1, help="Number of wells.")] = 3,
    tiles: Annotated[int, typer.Option(min=1, help="Number of tiles over all wells.")] = 24,
    seed: Annotated[
        int, typer.Option(help="Random seed; the same seed renders the same core.")
    ] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes to render with.")] = 1,
    varied: Annotated[
        bool,
        typer.Option(
            "--varied",
            help="Render images/ and masks/ of every kind to train on, without wells.",
        ),
    ] = False,
) -> None:
    """Render a synthetic core repository with its ground truth."""
    from mcn.synthetic.core import render_core
    from mcn.synthetic.dataset import write_dataset

    if varied:
        with progress_bar("rendering", tiles) as advance:
            write_dataset(out, tiles, seed, workers=workers, on_tile=lambda *_: advance())
        say(f"{tiles} tiles in {out / 'images'}, ground truth in {out / 'masks'}")
        return
    with progress_bar("rendering", tiles) as advance:
        render_core(out, wells, tiles, seed, workers=workers, on_tile=lambda *_: advance())
    say(f"{tiles} tiles of {wells} wells in {out}, ground truth in {out / 'truth'}")
