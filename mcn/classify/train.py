"""Training of MicroCrystalNet."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcn.classify.augment import augment
from mcn.classify.classifier import Classifier, ClassifierError, save_classifier
from mcn.classify.evaluate import score
from mcn.classify.examples import Examples, ExamplesError, render_examples
from mcn.classify.network import MicroCrystalNet, NetworkSettings


@dataclass(frozen=True)
class TrainSettings:
    """How a classifier is trained.

    Parameters
    ----------
    epochs, batch : int
        Passes over the training examples, and crops a step.
    learning_rate, weight_decay : float
        Of AdamW; the rate warms up and then falls along a cosine.
    label_smoothing : float
        Share of each label spread over all classes.
    gate_penalty : float
        Weight of the sum of gates in the loss; more closes more feature maps.
    held_out : float
        Share of the groups of crystals kept from training, for choosing the best epoch
        and for the temperature.
    copies : int
        Crops with a spoilt mask that are made of every crystal whose micrograph is there.
    tiles : int
        Tiles rendered when no data are given.
    seed : int
        Of rendering, split, initial weights, sampling and augmentation.
    network : NetworkSettings
        Sizes of the network.
    """

    epochs: int = 20
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    gate_penalty: float = 1e-3
    held_out: float = 0.15
    copies: int = 1
    tiles: int = 300
    seed: int = 0
    network: NetworkSettings = field(default_factory=NetworkSettings)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**plain, "network": self.network.as_dict()}


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
    settings: TrainSettings = TrainSettings(),
) -> TrainReport:
    """Train a classifier and write its weights.

    Parameters
    ----------
    data : Path or None
        Class folders, a folder with `labels.csv`, or a rendered core (see
        `mcn.classify.labelled.read_examples`); None renders tiles of random settings.
    out : Path
        `.safetensors` file to write; the log goes beside it, as `.jsonl`.
    settings : TrainSettings
        How to train.

    Raises
    ------
    ClassifierError
        If `out` does not name a `.safetensors` file.
    ExamplesError
        If the examples cannot be read, or a shape is missing from them.
    """
    from mcn.classify.labelled import read_examples

    if out.suffix != ".safetensors" or out.is_dir():
        raise ClassifierError(f"{out}: weights need a .safetensors file; name one to write")
    out.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with _progress() as start:
        if data is None:
            step = start("rendering tiles", settings.tiles)
            examples = render_examples(
                settings.tiles, settings.seed, copies=settings.copies, on_tile=step
            )
        else:
            examples = read_examples(data, copies=settings.copies, seed=settings.seed)
        train, held_out = split_examples(examples, settings)
        log = out.with_suffix(".jsonl")
        with log.open("w", buffering=1) as lines:
            network, best = _fit(train, held_out, settings, lines.write, start)
    probabilities, temperature = _calibrate(network, held_out)
    name = save_classifier(out, network, temperature, notes=json.dumps(settings.as_dict()))
    return TrainReport(
        path=out,
        log=log,
        name=name,
        n_train=len(train),
        n_held_out=len(held_out),
        best_epoch=best,
        parameters=sum(weights.numel() for weights in network.parameters()),
        sparsity=network.sparsity,
        temperature=temperature,
        held_out=score(held_out.classes, probabilities),
        seconds=time.perf_counter() - began,
    )


def split_examples(examples: Examples, settings: TrainSettings) -> tuple[Examples, Examples]:
    """Training and held-out examples: no group on both sides, classes about as frequent."""
    from sklearn.model_selection import StratifiedGroupKFold

    shapes = examples.taxonomy.shapes
    counts = np.bincount(examples.classes, minlength=len(shapes))
    missing = [shape for shape, count in zip(shapes, counts, strict=True) if not count]
    if missing:
        raise ExamplesError(
            f"the training data hold no {' and no '.join(missing)} crystal; add some, because "
            "a classifier cannot learn a shape it never sees"
        )
    folds = max(2, round(1 / settings.held_out))
    groups = len(np.unique(examples.groups))
    if groups < folds:
        raise ExamplesError(
            f"the training data come from {groups} micrographs, too few to hold a share of "
            f"{settings.held_out:g} out; add crystals of at least {folds} micrographs"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=settings.seed)
    rows, held_out = next(splitter.split(examples.crops, examples.classes, examples.groups))
    return examples.take(rows), examples.take(held_out)


def _fit(
    train: Examples,
    held_out: Examples,
    settings: TrainSettings,
    log: Callable[[str], object],
    start: Callable[[str, int], Callable[[], None]],
) -> tuple[MicroCrystalNet, int]:
    """Train; the network of the best epoch, and which it was."""
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    network = MicroCrystalNet(settings.network)
    judge = Classifier(network, "training")
    steps = max(1, len(train) // settings.batch)
    optimizer = torch.optim.AdamW(_parameter_groups(network, settings), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps, pct_start=0.1
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)
    best, best_epoch, best_weights = -1.0, 0, network.state_dict()
    step_done = start("training", settings.epochs * steps)
    for epoch in range(1, settings.epochs + 1):
        network.train()
        total = 0.0
        for crops, classes in _batches(train, steps, settings.batch, generator):
            logits = network(augment(crops, generator).to(judge.device))
            loss = loss_of(logits, classes.to(judge.device))
            optimizer.zero_grad()
            (loss + settings.gate_penalty * network.gate_sum()).backward()
            optimizer.step()
            schedule.step()
            for block in network.blocks:
                block.project()
            total += loss.item()
            step_done()
        network.eval()
        figures = score(held_out.classes, judge.classify(held_out.crops).probabilities)
        judged = [ap for ap in figures["average_precision"].values() if ap is not None]
        mean_ap = float(np.mean(judged))
        if mean_ap >= best:
            best, best_epoch, best_weights = mean_ap, epoch, deepcopy(network.state_dict())
        line = {
            "epoch": epoch,
            "loss": total / steps,
            "mean_average_precision": mean_ap,
            "accuracy": figures["accuracy"],
            "average_precision": figures["average_precision"],
            "sparsity": network.sparsity,
        }
        log(json.dumps(line) + "\n")
    network.load_state_dict(best_weights)
    return network.eval(), best_epoch


def _batches(
    examples: Examples, steps: int, batch: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Random batches.

    Every class is equally likely however rare it is in the data; within a class, crystals
    come up in proportion to how much of them can be seen, because slivers teach little.
    """
    classes = torch.from_numpy(examples.classes)
    weights = torch.from_numpy(examples.visible).double()
    weights = weights / torch.bincount(classes, weights)[classes]
    rows = torch.multinomial(weights, steps * batch, replacement=True, generator=generator)
    for chosen in rows.reshape(steps, batch):
        yield torch.from_numpy(examples.crops[chosen.numpy()])[:, None].float(), classes[chosen]


def _parameter_groups(network: MicroCrystalNet, settings: TrainSettings) -> list[dict[str, Any]]:
    """Weights decay; biases, normalisation and gates do not."""
    decayed = [weights for weights in network.parameters() if weights.ndim > 1]
    others = [weights for weights in network.parameters() if weights.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _calibrate(network: MicroCrystalNet, examples: Examples) -> tuple[NDArray[np.float32], float]:
    """Calibrated probabilities of examples, and the temperature that makes them likeliest."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits = Classifier(network, "training").examine(examples.crops)[1].astype(np.float64)
    rows = np.arange(len(examples))

    def surprise(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scaled[rows, examples.classes].mean())

    found = minimize_scalar(surprise, bounds=(np.log(0.2), np.log(5.0)), method="bounded")
    temperature = float(np.exp(found.x))
    named = Classifier(network, "training", temperature).classify(examples.crops)
    return named.probabilities, temperature


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
