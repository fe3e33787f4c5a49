"""Corrections of a catalogue on the command line: export them, evaluate models by them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from mcn.cli.console import print_json, progress_bar, say, show

if TYPE_CHECKING:
    from mcn.catalog.correcting.label_sheet import LabelSheet
    from mcn.catalog.selection import Selection
    from mcn.catalog.storage import CatalogQueryError
    from mcn.catalog.store import Catalog

_NOT_CORRECTED: Final = "nobody has corrected a crystal; correct some"
_NOT_NAMED: Final = "nobody has named a crystal; name or confirm some"
_NOT_JUDGED: Final = (
    "no tile counts as judged; correct an outline, or name every crystal of a tile,"
)


def export_corrections(catalog: Catalog, out: Path, selection: Selection) -> None:
    """Write what persons corrected as training data: `labels.csv`, and `images` with `masks`."""
    from mcn.catalog.correcting.label_sheet import NothingToLabelError
    from mcn.catalog.learning.training_tiles import PARTLY, export_training_tiles

    try:
        sheet: LabelSheet | None = _export_named(catalog, out, selection)
    except NothingToLabelError:
        sheet = None
    tiles = export_training_tiles(catalog, out, selection)
    if sheet is None and not tiles.crystals and not tiles.complete:
        raise _no_corrections(catalog)
    for reason in dict.fromkeys([*(sheet.skipped if sheet else ()), *tiles.skipped]):
        say(f"left out: {reason}")
    if sheet is None:
        say("no crystal was named, so there is no labels.csv to train a classifier on")
    else:
        say(
            f"{sheet.crystals} named crystals in {sheet.sheet}; train on them with "
            f"mcn train classifier {out} --start nsr --out own.safetensors"
        )
    option = f" --incomplete '{PARTLY}*'" if tiles.incomplete else ""
    say(
        f"{tiles.crystals} outlines in {out / 'masks'}, {tiles.complete} tiles with all their "
        f"crystals, {tiles.incomplete} with those that were named; train on them with "
        f"mcn train segmenter {out} --start compact{option} --out own.safetensors"
    )


def evaluate_classifiers(
    uri: str, wells: Sequence[str], classifier: str | None, as_json: bool
) -> None:
    """Print how good a catalogue's classifiers are by its corrections, or how good another is."""
    from mcn.catalog.store import Catalog
    from mcn.classify.evaluation.tables import as_text

    catalog = Catalog.open(uri)
    if classifier is None:
        evaluation = _evaluate(catalog, wells)
        if not evaluation["classifiers"]:
            raise _no_corrections(catalog, _NOT_NAMED)
        classifiers = [{"data": catalog.uri, **each} for each in evaluation["classifiers"]]
    else:
        from mcn.catalog.learning.evaluation import NOTE
        from mcn.catalog.selection import Selection
        from mcn.classify import load_classifier
        from mcn.classify.evaluation.evaluate import evaluate_classifier

        model = load_classifier(classifier)
        with tempfile.TemporaryDirectory() as folder:
            _export_named(catalog, Path(folder), Selection(wells))
            metrics = evaluate_classifier(Path(folder), model)
        classifiers = [{**metrics, "data": catalog.uri}]
        evaluation = {"note": NOTE}
    if as_json:
        print_json({**evaluation, **classifiers[0], "classifiers": classifiers})
        return
    for metrics in classifiers:
        typer.echo(as_text(metrics) + "\n")
    typer.echo(evaluation["note"])


def evaluate_segmenters(
    uri: str, wells: Sequence[str], segmenter: str | None, as_json: bool
) -> None:
    """Print how good a catalogue's segmenters are by its corrections, or how good another is."""
    from mcn.catalog.store import Catalog
    from mcn.cli.pages.corrections import segmenter_page

    catalog = Catalog.open(uri)
    if segmenter is not None:
        _evaluate_other_segmenter(catalog, wells, segmenter, as_json)
        return
    evaluation = _evaluate(catalog, wells)
    segmenters = evaluation["segmenters"]
    if not segmenters:
        raise _no_corrections(catalog, _NOT_JUDGED)
    if as_json:
        print_json({**evaluation, **segmenters[0]})
        return
    for metrics in segmenters:
        typer.echo(segmenter_page(metrics) + "\n")
    typer.echo(evaluation["note"])


def _evaluate(catalog: Catalog, wells: Sequence[str]) -> dict[str, Any]:
    from mcn.catalog.learning.evaluation import evaluate_corrections

    evaluation = evaluate_corrections(catalog, wells)
    if not evaluation["corrections"]:
        raise _no_corrections(catalog)
    return evaluation


def _evaluate_other_segmenter(
    catalog: Catalog, wells: Sequence[str], segmenter: str, as_json: bool
) -> None:
    """Print the metrics of a segmenter that segments the judged tiles anew."""
    from mcn.catalog.learning.training_tiles import COMPLETE, export_training_tiles
    from mcn.catalog.selection import Selection
    from mcn.segment import load_segmenter
    from mcn.segment.dataset import list_pairs
    from mcn.segment.evaluation.metrics import compute_metrics, evaluate_images

    model = load_segmenter(segmenter)
    with tempfile.TemporaryDirectory() as folder:
        if not export_training_tiles(catalog, folder, Selection(wells)).complete:
            raise _no_corrections(catalog, _NOT_JUDGED)
        pairs = [pair for pair in list_pairs(Path(folder)) if pair.name.startswith(COMPLETE)]
        with progress_bar("evaluating", len(pairs)) as advance:
            evaluated = evaluate_images(model, pairs, advance)
    show({"segmenter": model.name, **compute_metrics(evaluated)}, as_json)


def _export_named(catalog: Catalog, out: Path, selection: Selection) -> LabelSheet:
    from mcn.catalog.correcting.label_sheet import export_labels

    return export_labels(
        catalog,
        out,
        selection.wells,
        selection.depth,
        sys.maxsize,
        selection.segmenter,
        selection.classifier,
        selection.formations,
        selection.box,
        corrected_only=True,
    )


def _no_corrections(catalog: Catalog, why: str = _NOT_CORRECTED) -> CatalogQueryError:
    """The error of a catalogue that has nothing to evaluate or to train on."""
    from mcn.catalog.storage import CatalogQueryError

    return CatalogQueryError(f"{catalog.uri}: {why} on the page (mcn view {catalog.uri})")
