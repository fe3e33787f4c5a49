"""`mcn evaluate`: metrics of a segmenter or a classifier on labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mcn.cli.console import print_json, progress_bar, show
from mcn.cli.corrections import evaluate_classifiers, evaluate_segmenters
from mcn.cli.options import AsJson, ClassOrder, Prompts
from mcn.io.output_paths import prepare_folder

Corrections = Annotated[
    bool,
    typer.Option(
        "--corrections", help="Evaluate by what persons corrected in a catalogue: on its rock."
    ),
]
CorrectedWells = Annotated[
    list[str] | None,
    typer.Option("--well", help="With --corrections: only this well; may be repeated."),
]

evaluate_app = typer.Typer(help="Evaluate a model on labelled data.", no_args_is_help=True)


@evaluate_app.command("segmenter")
def evaluate_segmenter(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of images/ and masks/, or a core; with --corrections a catalogue."
        ),
    ],
    segmenter: Annotated[
        str | None,
        typer.Option(
            help="compact (the default), vit_b, vit_l, vit_h, watershed, or a file. With "
            "--corrections: segment the judged tiles again with it; by default, what the "
            "catalogue's segmenters found is evaluated."
        ),
    ] = None,
    prompts: Prompts = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Only the images that training holds out.")
    ] = False,
    stability: Annotated[
        bool,
        typer.Option(
            "--stability",
            help="Also segment each image cropped by two pixels, and divided; compare.",
        ),
    ] = False,
    corrections: Corrections = False,
    well: CorrectedWells = None,
    as_json: AsJson = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for overlays, curves and figures.json.")
    ] = None,
) -> None:
    """Average precision, F1, IoU and errors of size and count of a segmenter's masks."""
    if corrections:
        if prompts or held_out or stability or report:
            raise typer.BadParameter(
                "--corrections excludes --prompts, --held-out, --stability and --report"
            )
        evaluate_segmenters(data, well or (), segmenter, as_json)
        return
    if well:
        raise typer.BadParameter("--well needs --corrections")
    from mcn.segment import load_segmenter, with_prompts
    from mcn.segment.dataset import list_pairs, split_pairs
    from mcn.segment.evaluation.metrics import compute_metrics, evaluate_images

    if report is not None:
        prepare_folder(report)
    pairs = list_pairs(Path(data))
    pairs = split_pairs(pairs)[1] if held_out else pairs
    model = load_segmenter(with_prompts(segmenter or "compact", prompts))
    with progress_bar("evaluating", len(pairs)) as advance:
        evaluated = evaluate_images(model, pairs, advance)
    metrics = {"segmenter": model.name, **compute_metrics(evaluated)}
    if stability:
        from mcn.segment.evaluation.stability import evaluate_stability

        with progress_bar("cropping", len(pairs)) as advance:
            metrics |= evaluate_stability(model, pairs, advance)
    if report is not None:
        from mcn.segment.evaluation.report import write_report

        write_report(evaluated, metrics, report)
    show(metrics, as_json)


@evaluate_app.command("classifier")
def evaluate_classifier(
    data: Annotated[
        str | None,
        typer.Argument(
            help="Class folders, labels.csv or a rendered core; with --corrections a catalogue."
        ),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            help="nsr (the default), published, or a weights file. With --corrections: classify "
            "the named crystals again with it; by default, what the catalogue's classifiers said "
            "is evaluated."
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Probabilities of a test set in class order (.npy), instead of DATA."),
    ] = None,
    counts: Annotated[
        str, typer.Option(help="With --predictions: number of crystals of each class.")
    ] = "117,95,83,80",
    class_order: ClassOrder = "amorphous,polyhedral,rhombic,spherical",
    segmenter: Annotated[
        str | None,
        typer.Option(
            help="With a rendered core: cut crystals out by this segmenter's masks (compact, "
            "vit_b, …, or a file) instead of the true ones."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Evaluate this many crystals, drawn at random.")
    ] = None,
    corrections: Corrections = False,
    well: CorrectedWells = None,
    as_json: AsJson = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a page, its plots, and figures.json.")
    ] = None,
) -> None:
    """Accuracy, AP, ROC AUC, F1 and calibration of a classifier, with 95 % intervals."""
    if (data is None) == (predictions is None):
        raise typer.BadParameter("give either DATA or --predictions FILE")
    if corrections:
        if data is None or segmenter or limit or report:
            raise typer.BadParameter(
                "--corrections needs a catalogue, and excludes --predictions, --segmenter, "
                "--limit and --report"
            )
        evaluate_classifiers(data, well or (), classifier, as_json)
        return
    if well:
        raise typer.BadParameter("--well needs --corrections")
    if report is not None:
        prepare_folder(report)
    if data is not None:
        metrics = _evaluate_classifier(Path(data), classifier or "nsr", segmenter, limit, report)
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

    mask_segmenter = load_segmenter(segmenter)
    with progress_bar("segmenting", len(list_pairs(data))) as advance:
        return evaluate(
            data, model, segmenter=mask_segmenter, limit=limit, report=report, on_tile=advance
        )


def _evaluate_predictions(
    predictions: Path, counts: str, class_order: str, report: Path | None
) -> dict[str, Any]:
    from mcn.classify.evaluation.predictions import evaluate_predictions, read_predictions
    from mcn.crystals import Classified

    if not all(count.isdecimal() for count in counts.split(",")):
        raise typer.BadParameter(f"--counts {counts}: give whole numbers, such as 117,95,83,80")
    class_counts = [int(count) for count in counts.split(",")]
    classes, probabilities = read_predictions(predictions, class_counts)
    metrics = {
        "data": str(predictions),
        **evaluate_predictions(classes, probabilities, class_order.split(",")),
    }
    if report is not None:
        from mcn.classify.evaluation.report import write_report

        write_report(metrics, classes, Classified(probabilities, probabilities.max(1)), report)
    return metrics
