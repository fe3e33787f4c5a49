"""Training of MicroCrystalNet."""

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
from mcn.classify.data.dataset import ExamplesError, render_examples
from mcn.classify.data.sampling import split_examples
from mcn.classify.evaluation.evaluate import score
from mcn.classify.modeling.network import MicroCrystalNet
from mcn.classify.training.calibrate import calibrate
from mcn.classify.training.trainer import ClassifierTrainSettings, Training
from mcn.taxonomy import CALCITE, Taxonomy

_EPOCH = 50_000  # crops of an epoch at most, so that much data do not wait long for a judgement


@dataclass(frozen=True)
class TrainReport:
    """What came of a training.

    Parameters
    ----------
    path, log : Path
        Weights, and the log with a line of JSON for each epoch.
    name : str
        Name of the classifier, as `load_classifier(path).name`.
    n_train, n_held_out : int
        Crops on either side of the split.
    best_epoch : int
        Epoch whose weights were kept, from 1: the last of the highest average precision.
    parameters : int
        Size of the network.
    sparsity : float
        Share of reduced feature maps that the selection switched off.
    temperature : float
        Calibrated on the held-out crops.
    held_out : dict
        `score` of the held-out crops; they chose the epoch, so fresh crops score lower.
    seconds : float
        Wall time, rendering included.
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
    """Train a classifier and write its weights; a killed training goes on where it stood.

    Parameters
    ----------
    data : Path or None
        Class folders, a folder with `labels.csv`, or a rendered core (see
        `mcn.classify.data.readers.read_examples`); None renders tiles of random settings.
    out : Path
        `.safetensors` file to write; the log goes beside it, as `.jsonl`.
    settings : ClassifierTrainSettings
        How to train.
    taxonomy : Taxonomy
        The shapes to tell apart; rendered crystals have calcite's.

    Raises
    ------
    ClassifierError
        If `out` does not name a `.safetensors` file, or another training was begun there.
    ExamplesError
        If the examples cannot be read, or a shape is missing from them.
    """
    from mcn.classify.data.readers import read_examples

    if out.suffix != ".safetensors" or out.is_dir():
        raise ClassifierError(f"{out}: weights need a .safetensors file; name one to write")
    if data is None and taxonomy != CALCITE:
        raise ExamplesError(
            f"no crystals of {', '.join(taxonomy.shapes)} can be rendered; give labelled ones"
        )
    beginning = _beginning(settings.start)
    sizes = settings.network if beginning is None else beginning.settings
    settings = replace(settings, network=replace(sizes, taxonomy=taxonomy))
    out.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with _progress() as start:
        if data is None:
            examples = render_examples(
                settings.tiles,
                settings.seed,
                copies=settings.copies,
                workers=os.cpu_count() or 1,
                on_tile=start("rendering tiles", settings.tiles),
            )
        else:
            examples = read_examples(
                data, taxonomy=taxonomy, copies=settings.copies, seed=settings.seed
            )
        train, held_out = split_examples(examples, settings.held_out, settings.seed)
        run = Training(out, settings, max(1, min(len(train), _EPOCH) // settings.batch), beginning)
        run.fit(train, held_out, start)
    classifier = calibrate(run.network, train, held_out, settings.seed)
    name = save_classifier(
        out,
        run.network,
        classifier.temperature,
        classifier.confidence_model,
        notes=json.dumps(settings.as_dict()),
    )
    run.resume.unlink(missing_ok=True)
    named = classifier.classify(held_out.crops)
    return TrainReport(
        path=out,
        log=run.log,
        name=name,
        n_train=len(train),
        n_held_out=len(held_out),
        best_epoch=run.best_epoch,
        parameters=sum(weights.numel() for weights in run.network.parameters()),
        sparsity=run.network.sparsity,
        temperature=classifier.temperature,
        held_out=score(
            held_out.classes,
            named.probabilities,
            taxonomy.shapes,
            taxonomy.facet_of,
            named.confidence,
        ),
        seconds=time.perf_counter() - began,
    )


def _beginning(model: str | None) -> MicroCrystalNet | None:
    if model is None:
        return None
    network = load_classifier(model).network
    if not isinstance(network, MicroCrystalNet):
        raise ClassifierError(f"{model}: is no MicroCrystalNet; start from nsr or one trained here")
    return network.cpu()


@contextmanager
def _progress() -> Iterator[Callable[[str, int], Callable[[], None]]]:
    """Progress bars on stderr, none where that is no terminal.

    Yields `start(description, total)`, which gives the function to call at each step.
    """
    from rich.console import Console
    from rich.progress import Progress

    bars = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty())

    def start(description: str, total: int) -> Callable[[], None]:
        task = bars.add_task(description, total=total)
        return lambda: bars.advance(task)

    with bars:
        yield start
