"""Commands about models: `mcn train`, `mcn evaluate`, `mcn weights`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mcn.cli.console import print_json, progress_bar, say, show

train_app = typer.Typer(help="Train a model.", no_args_is_help=True)
evaluate_app = typer.Typer(help="Judge a model against labelled data.", no_args_is_help=True)
weights_app = typer.Typer(help="List, fetch and import model weights.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
SegmenterName = Annotated[
    str, typer.Option("--segmenter", help="compact, vit_b, vit_l, vit_h, watershed, or a file.")
]
ClassifierName = Annotated[
    str, typer.Option("--classifier", help="nsr, published, or a weights file.")
]
ClassOrder = Annotated[
    str,
    typer.Option(
        help="Shapes of classes 0, 1, … of the published network: as its training numbered them; "
        "its released figures say polyhedral,amorphous,rhombic,spherical."
    ),
]


@train_app.command("segmenter")
def train_segmenter(
    data: Annotated[list[Path], typer.Argument(help="Folders of images/ and masks/, or cores.")],
    out: Annotated[Path, typer.Option(help="Weights to write (.safetensors).")],
    preset: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, if not the preset's.")] = None,
    start: Annotated[
        str | None,
        typer.Option(help="compact, vit_b, vit_l, vit_h or weights to start from, not ImageNet's."),
    ] = None,
    lora: Annotated[
        int,
        typer.Option(min=0, help="Rank of adapters in a ViT's image encoder; 0 keeps it frozen."),
    ] = 0,
    rate: Annotated[
        float | None, typer.Option(min=0.0, help="Peak learning rate, if not the preset's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train a compact segmenter or fine-tune a ViT; a killed training goes on where it stood."""
    from dataclasses import replace

    from mcn.segment.modeling.checkpoints import load_model
    from mcn.segment.modeling.compact_sam import CompactSam
    from mcn.segment.segmenter import weights_path
    from mcn.segment.training.settings import PRESETS, VIT_PRESETS
    from mcn.segment.training.trainer import Progress
    from mcn.segment.training.trainer import train_segmenter as train

    if preset not in PRESETS:
        raise typer.BadParameter(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    if start == "watershed":
        raise typer.BadParameter("watershed learns nothing; start from compact, vit_b or a file")
    model = None if start is None else load_model(weights_path(start))
    compact = model is None or isinstance(model, CompactSam)
    if lora and compact:
        raise typer.BadParameter("--lora is for a ViT; add --start vit_b, vit_l or vit_h")
    settings = PRESETS[preset] if compact else VIT_PRESETS[preset]
    settings = replace(settings, seed=seed, lora=lora)
    settings = settings if steps is None else replace(settings, steps=steps)
    settings = settings if rate is None else replace(settings, rate=rate)
    with progress_bar("training", settings.steps) as advance:

        def on_step(progress: Progress) -> None:
            advance(progress.step)
            if progress.epoch:
                say(json.dumps(progress.epoch))

        best = train(data, out, settings, model, on_step)
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
        Path | None, typer.Option(help="TOML list of shapes and facets, if not calcite's.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the crystals.")] = None,
    tiles: Annotated[int | None, typer.Option(min=1, help="Tiles to render, without DATA.")] = None,
    start: Annotated[
        str | None,
        typer.Option(help="nsr or weights to start from, as few labels need; else random ones."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.0, help="Peak learning rate, if not 0.002.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train a MicroCrystalNet; a killed training goes on where it stood."""
    from dataclasses import asdict, replace

    from mcn.classify.training.train import train_classifier as train
    from mcn.classify.training.trainer import ClassifierTrainSettings
    from mcn.taxonomy import CALCITE, read_taxonomy

    settings = ClassifierTrainSettings(seed=seed, start=start)
    settings = settings if rate is None else replace(settings, learning_rate=rate)
    settings = settings if epochs is None else replace(settings, epochs=epochs)
    settings = settings if tiles is None else replace(settings, tiles=tiles)
    report = asdict(train(data, out, settings, read_taxonomy(classes) if classes else CALCITE))
    print_json({**report, "path": str(report["path"]), "log": str(report["log"])})


@evaluate_app.command("segmenter")
def evaluate_segmenter(
    data: Annotated[Path, typer.Argument(help="A folder of images/ and masks/, or a core.")],
    segmenter: SegmenterName = "compact",
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Only the images that training holds out.")
    ] = False,
    as_json: AsJson = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for overlays, curves and figures.json.")
    ] = None,
) -> None:
    """Average precision, F1, IoU and errors of size and count of a segmenter's masks."""
    from mcn.segment import load_segmenter
    from mcn.segment.dataset import list_pairs, split_pairs
    from mcn.segment.evaluation.metrics import compute_metrics, evaluate_images

    pairs = list_pairs(data)
    pairs = split_pairs(pairs)[1] if held_out else pairs
    model = load_segmenter(segmenter)
    with progress_bar("evaluating", len(pairs)) as advance:
        evaluated = evaluate_images(model, pairs, advance)
    metrics = {"segmenter": model.name, **compute_metrics(evaluated)}
    if report is not None:
        from mcn.segment.evaluation.report import write_report

        write_report(evaluated, metrics, report)
    show(metrics, as_json)


@evaluate_app.command("classifier")
def evaluate_classifier(
    data: Annotated[
        Path | None, typer.Argument(help="Class folders, labels.csv or a rendered core.")
    ] = None,
    classifier: ClassifierName = "nsr",
    predictions: Annotated[
        Path | None,
        typer.Option(help="Probabilities of a test set in class order (.npy), instead of DATA."),
    ] = None,
    counts: Annotated[
        str, typer.Option(help="With --predictions: crystals of each class.")
    ] = "117,95,83,80",
    class_order: ClassOrder = "amorphous,polyhedral,rhombic,spherical",
    segmenter: Annotated[
        str | None,
        typer.Option(
            help="With a rendered core: cut crystals out by this segmenter's masks (compact, "
            "vit_b, …, or a file), not by the true ones."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Judge this many crystals, drawn at random.")
    ] = None,
    as_json: AsJson = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a page, its pictures, and figures.json.")
    ] = None,
) -> None:
    """Accuracy, AP, ROC AUC, F1 and calibration of a classifier, with 95 % intervals."""
    if (data is None) == (predictions is None):
        raise typer.BadParameter("give either DATA or --predictions FILE")
    if data is not None:
        metrics = _evaluate_classifier(data, classifier, segmenter, limit, report)
    else:
        assert predictions is not None
        if segmenter is not None or limit is not None:
            raise typer.BadParameter("--segmenter and --limit need DATA, not --predictions")
        metrics = _evaluate_predictions(predictions, counts, class_order, report)
    if as_json:
        print_json(metrics)
    else:
        from mcn.classify.evaluation.tables import as_text

        typer.echo(as_text(metrics))


def _evaluate_classifier(
    data: Path, classifier: str, segmenter: str | None, limit: int | None, report: Path | None
) -> dict[str, Any]:
    from mcn.classify import load_classifier
    from mcn.classify.evaluation.evaluate import evaluate_classifier as evaluate

    model = load_classifier(classifier)
    if segmenter is None:
        return evaluate(data, model, limit=limit, report=report)
    from mcn.segment import load_segmenter
    from mcn.segment.dataset import list_pairs

    finder = load_segmenter(segmenter)
    with progress_bar("segmenting", len(list_pairs(data))) as advance:
        return evaluate(data, model, segmenter=finder, limit=limit, report=report, on_tile=advance)


def _evaluate_predictions(
    predictions: Path, counts: str, class_order: str, report: Path | None
) -> dict[str, Any]:
    from mcn.classify.evaluation.predictions import evaluate_predictions, read_predictions
    from mcn.crystals import Classified

    if not all(count.isdecimal() for count in counts.split(",")):
        raise typer.BadParameter(f"--counts {counts}: give whole numbers, as 117,95,83,80")
    each = [int(count) for count in counts.split(",")]
    classes, probabilities = read_predictions(predictions, each)
    metrics = {
        "data": str(predictions),
        **evaluate_predictions(classes, probabilities, class_order.split(",")),
    }
    if report is not None:
        from mcn.classify.evaluation.report import write_report

        write_report(metrics, classes, Classified(probabilities, probabilities.max(1)), report)
    return metrics


@weights_app.command("list")
def weights_list() -> None:
    """The models there are, and whether their weights are at hand."""
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
    """Fetch weights once, checked by sha256."""
    from mcn.classify.modeling.published import fetch_keras
    from mcn.segment.modeling.checkpoints import CHECKPOINTS, fetch_checkpoint

    if model == "published":
        _import_published(fetch_keras())
    elif model in CHECKPOINTS:
        typer.echo(fetch_checkpoint(model))
    else:
        raise typer.BadParameter(
            f"no weights {model!r} to fetch; there are {', '.join(CHECKPOINTS)}, published"
        )


@weights_app.command("import")
def weights_import(
    file: Annotated[Path, typer.Argument(help="The MicroCrystalNet authors' Keras weights (.h5).")],
    out: Annotated[
        Path | None,
        typer.Option(help="Weights to write (.safetensors), if not those of 'published'."),
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
        f"classes 0 to 3 are taken as {class_order}; the authors' figures name them "
        f"{','.join(RELEASED_ORDER)}: see mcn/weights/published.md"
    )
