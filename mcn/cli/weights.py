"""`mcn weights`: list, fetch and import model weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcn.cli.console import say
from mcn.cli.options import ClassOrder

weights_app = typer.Typer(help="List, fetch and import model weights.", no_args_is_help=True)


@weights_app.command("list")
def weights_list() -> None:
    """List the models and where their weights are."""
    from mcn.classify.modeling.published import cached_weights
    from mcn.segment.modeling.checkpoints import CHECKPOINTS, cached_checkpoint

    typer.echo("compact   segmenter   embedded")
    for name in CHECKPOINTS:
        typer.echo(f"{name:9} segmenter   {cached_checkpoint(name) or 'not fetched'}")
    typer.echo("nsr       classifier  embedded")
    typer.echo(f"published classifier  {cached_weights() or 'not fetched'}")


@weights_app.command("fetch")
def weights_fetch(
    model: Annotated[str, typer.Argument(help="vit_b, vit_l, vit_h or published.")],
) -> None:
    """Download weights once, and check their SHA-256."""
    from mcn.classify.modeling.published import fetch_keras
    from mcn.segment.modeling.checkpoints import CHECKPOINTS, fetch_checkpoint

    if model == "published":
        _import_published(fetch_keras())
    elif model in CHECKPOINTS:
        typer.echo(fetch_checkpoint(model))
    else:
        raise typer.BadParameter(
            f"unknown weights {model!r}; use one of {', '.join(CHECKPOINTS)}, published"
        )


@weights_app.command("import")
def weights_import(
    file: Annotated[Path, typer.Argument(help="The MicroCrystalNet authors' Keras weights (.h5).")],
    out: Annotated[
        Path | None,
        typer.Option(help="Weights to write (.safetensors); by default those of 'published'."),
    ] = None,
    class_order: ClassOrder = "amorphous,polyhedral,rhombic,spherical",
) -> None:
    """Convert the published network's weights for --classifier published."""
    _import_published(file, out, class_order)


def _import_published(
    file: Path,
    out: Path | None = None,
    class_order: str = "amorphous,polyhedral,rhombic,spherical",
) -> None:
    from mcn.classify.modeling.published import RELEASED_ORDER, import_weights

    typer.echo(import_weights(file, out, class_order.split(",")))
    say(
        f"classes 0 to 3 are taken as {class_order}; the authors' plots name them "
        f"{','.join(RELEASED_ORDER)}: see mcn/weights/published.md"
    )
