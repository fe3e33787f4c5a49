"""`mcn train`: train a segmenter or a classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mcn.cli.console import print_json, progress_bar, say

train_app = typer.Typer(help="Train a model.", no_args_is_help=True)


@train_app.command("segmenter")
def train_segmenter(
    data: Annotated[list[Path], typer.Argument(help="Folders of images/ and masks/, or cores.")],
    out: Annotated[Path, typer.Option(help="Weights to write (.safetensors).")],
    preset: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Number of steps; by default the preset's.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="compact, vit_b, vit_l, vit_h or weights to start from; by default ImageNet's."
        ),
    ] = None,
    lora: Annotated[
        int,
        typer.Option(min=0, help="Rank of adapters in a ViT's image encoder; 0 keeps it frozen."),
    ] = 0,
    rate: Annotated[
        float | None, typer.Option(min=0.0, help="Peak learning rate; by default the preset's.")
    ] = None,
    incomplete: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Image, or pattern with *, in which not all crystals are labelled; repeatable.",
        ),
    ] = None,
    leave_out: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of another laboratory to evaluate the result on, instead of training "
            "on it; repeatable."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Train a compact segmenter or fine-tune a ViT; an interrupted training resumes."""
    from dataclasses import replace

    from mcn.segment.modeling.checkpoints import load_model
    from mcn.segment.modeling.compact_sam import CompactSam
    from mcn.segment.segmenter import weights_path
    from mcn.segment.training.settings import PRESETS, VIT_PRESETS
    from mcn.segment.training.trainer import Progress
    from mcn.segment.training.trainer import train_segmenter as train

    if preset not in PRESETS:
        raise typer.BadParameter(f"unknown preset {preset!r}; use one of {', '.join(PRESETS)}")
    if start == "watershed":
        raise typer.BadParameter("watershed cannot be trained; start from compact, vit_b or a file")
    model = None if start is None else load_model(weights_path(start))
    compact = model is None or isinstance(model, CompactSam)
    if lora and compact:
        raise typer.BadParameter("--lora is for a ViT; add --start vit_b, vit_l or vit_h")
    settings = PRESETS[preset] if compact else VIT_PRESETS[preset]
    settings = replace(settings, seed=seed, lora=lora, incomplete=tuple(incomplete or ()))
    settings = settings if steps is None else replace(settings, steps=steps)
    settings = settings if rate is None else replace(settings, rate=rate)
    with progress_bar("training", settings.steps) as advance:

        def on_step(progress: Progress) -> None:
            advance(progress.step)
            if progress.epoch:
                say(json.dumps(progress.epoch))

        best = train(data, out, settings, model, on_step, leave_out or ())
    print_json(best)


@train_app.command("classifier")
def train_classifier(
    data: Annotated[
        Path | None,
        typer.Argument(
            help="labels.csv, class folders, the authors' layout or a core; rendered crystals "
            "if not given."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Weights to write.")] = Path("nsr.safetensors"),
    classes: Annotated[
        Path | None, typer.Option(help="TOML list of shapes and facets; by default calcite's.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Number of passes over the crystals.")
    ] = None,
    tiles: Annotated[
        int | None, typer.Option(min=1, help="Number of tiles to render, without DATA.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="nsr or weights to fine-tune, for few labels of one rock; by default random ones."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.0, help="Peak learning rate; by default 0.002, with --start less."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Train a MicroCrystalNet; an interrupted training resumes."""
    from dataclasses import asdict, replace

    from mcn.classify.training.train import train_classifier as train
    from mcn.classify.training.trainer import FINE_TUNING, ClassifierTrainSettings
    from mcn.taxonomy import CALCITE, read_taxonomy

    settings = FINE_TUNING if start is not None else ClassifierTrainSettings()
    settings = replace(settings, seed=seed, start=start)
    settings = settings if rate is None else replace(settings, learning_rate=rate)
    settings = settings if epochs is None else replace(settings, epochs=epochs)
    settings = settings if tiles is None else replace(settings, tiles=tiles)
    report = asdict(train(data, out, settings, read_taxonomy(classes) if classes else CALCITE))
    print_json({**report, "path": str(report["path"]), "log": str(report["log"])})
