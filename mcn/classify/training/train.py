"""Training a classifier from data to calibrated weights."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcn.classify.classifier import ClassifierError, load_classifier, save_classifier
from mcn.classify.data.dataset import Examples, ExamplesError, render_examples
from mcn.classify.data.readers import read_examples
from mcn.classify.data.sampling import split_examples
from mcn.classify.evaluation.scores import score
from mcn.classify.modeling.network import MicroCrystalNet
from mcn.classify.training.calibrate import calibrate
from mcn.classify.training.trainer import (
    ClassifierTrainer,
    ClassifierTrainSettings,
    StartProgress,
)
from mcn.io.output_paths import prepare_file
from mcn.taxonomy import CALCITE, Taxonomy

_EPOCH = 50_000  # most crops per epoch, so that large data sets are evaluated often enough


@dataclass(frozen=True)
class TrainReport:
    """The result of a training.

    Parameters
    ----------
    path, log : Path
        Weights, and the log with one line of JSON per epoch.
    name : str
        Name of the classifier, as `load_classifier(path).name`.
    n_train, n_held_out : int
        Training and held-out crops.
    best_epoch : int
        Epoch whose weights were kept, from 1: the last with the highest average precision.
    parameters : int
        Number of parameters of the network.
    sparsity : float
        Share of the reduced feature maps that are switched off.
    temperature : float
        Calibrated on the held-out crops.
    held_out : dict
        `score` of the held-out crops. They chose the epoch, so new crops score lower.
    seconds : float
        Wall time, including rendering.
    """

    path: Path
    log: Path
    name: str
    n_train: int
    n_held_out: int
    best_epoch: int
    parameters: int
    sparsity: float
    temperature: float
    held_out: dict[str, Any]
    seconds: float


def train_classifier(
    data: Path | None,
    out: Path,
    settings: ClassifierTrainSettings = ClassifierTrainSettings(),
    taxonomy: Taxonomy = CALCITE,
) -> TrainReport:
    """Train a classifier and write its weights; an interrupted training continues.

    Parameters
    ----------
    data : Path or None
        Class folders, a folder with `labels.csv`, or a rendered core (see
        `mcn.classify.data.readers.read_examples`). None renders tiles with random settings.
    out : Path
        `.safetensors` file to write; the log is written beside it, as `.jsonl`.
    settings : ClassifierTrainSettings
    taxonomy : Taxonomy
        The shapes to distinguish; rendered crystals have those of calcite.

    Raises
    ------
    ClassifierError
        If `out` is not the name of a `.safetensors` file, or another training was started there.
    ExamplesError
        If the examples cannot be read or lack a shape.
    """
    if out.suffix != ".safetensors":
        raise ClassifierError(
            f"{out}: weights are written as .safetensors; use a name ending in it"
        )
    prepare_file(out)
    if data is None and taxonomy != CALCITE:
        raise ExamplesError(
            f"no crystals of {', '.join(taxonomy.shapes)} can be rendered; give labelled crystals"
        )
    start_from = _start_network(settings.start)
    sizes = settings.network if start_from is None else start_from.settings
    settings = replace(settings, network=replace(sizes, taxonomy=taxonomy))
    start_time = time.perf_counter()
    with _progress_bars() as start_progress:
        examples = _training_examples(data, settings, taxonomy, start_progress)
        is_learnt = start_from is not None and start_from.settings.taxonomy == taxonomy
        train, held_out = split_examples(
            examples, settings.held_out, settings.seed, is_learnt=is_learnt
        )
        steps = max(1, min(len(train), _EPOCH) // settings.batch)
        trainer = ClassifierTrainer(out, settings, steps, train, held_out, start_from)
        trainer.run(start_progress)
    classifier = calibrate(trainer.network, train, held_out, settings.seed)
    name = save_classifier(
        out,
        trainer.network,
        classifier.temperature,
        classifier.confidence_model,
        notes=json.dumps(settings.as_dict()),
    )
    trainer.files.finish()
    classified = classifier.classify(held_out.crops)
    return TrainReport(
        path=out,
        log=trainer.files.log,
        name=name,
        n_train=len(train),
        n_held_out=len(held_out),
        best_epoch=trainer.history.best_epoch,
        parameters=sum(weights.numel() for weights in trainer.network.parameters()),
        sparsity=trainer.network.sparsity,
        temperature=classifier.temperature,
        held_out=score(
            held_out.classes,
            classified.probabilities,
            taxonomy.shapes,
            taxonomy.facet_of,
            classified.confidence,
        ),
        seconds=time.perf_counter() - start_time,
    )


def _training_examples(
    data: Path | None,
    settings: ClassifierTrainSettings,
    taxonomy: Taxonomy,
    start_progress: StartProgress,
) -> Examples:
    """Examples read from `data`, or rendered if that is None."""
    if data is not None:
        return read_examples(data, taxonomy=taxonomy, copies=settings.copies, seed=settings.seed)
    return render_examples(
        settings.tiles,
        settings.seed,
        copies=settings.copies,
        workers=os.cpu_count() or 1,
        on_tile=start_progress("rendering tiles", settings.tiles),
    )


def _start_network(model: str | None) -> MicroCrystalNet | None:
    if model is None:
        return None
    network = load_classifier(model).network
    if not isinstance(network, MicroCrystalNet):
        raise ClassifierError(
            f"{model}: is not a MicroCrystalNet; start from nsr or one trained here"
        )
    return network.cpu()


@contextmanager
def _progress_bars() -> Iterator[StartProgress]:
    """Progress bars on stderr, if that is a terminal; yields the function that starts one."""
    from rich.console import Console
    from rich.progress import Progress

    bars = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty())

    def start(description: str, total: int) -> Callable[[], None]:
        task = bars.add_task(description, total=total)
        return lambda: bars.advance(task)

    with bars:
        yield start
