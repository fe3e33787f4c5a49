"""Training of MicroCrystalNet."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mcn.classify.augment import augment
from mcn.classify.calibrate import calibrate
from mcn.classify.classifier import Classifier, ClassifierError, save_classifier
from mcn.classify.evaluate import score
from mcn.classify.examples import Examples, ExamplesError, render_examples
from mcn.classify.network import MicroCrystalNet, NetworkSettings
from mcn.classify.outsiders import outsiders
from mcn.classify.sampling import draw_batches, split_examples
from mcn.taxonomy import CALCITE, Taxonomy

_EPOCH = 50_000  # crops of an epoch at most, so that much data do not wait long for a judgement
_JUDGED = 10_000  # held-out crops that choose the epoch
_OUTSIDERS = 4096
_ONE_IN = 8  # crops of a batch that are outsiders


@dataclass(frozen=True)
class TrainSettings:
    """How a classifier is trained.

    Parameters
    ----------
    epochs, batch : int
        Passes over the training examples, or over 50,000 drawn from them, and crops a step.
    patience : int
        Epochs without a better one after which training stops.
    learning_rate, weight_decay : float
        Of AdamW; the rate warms up and then falls along a cosine.
    label_smoothing : float
        Share of each label spread over all classes.
    facet_weight : float
        Weight of the facet definition in the loss, the shape's being 1.
    outsider_weight : float
        Weight of the loss of crops that are no crystal, for which no shape should be likelier
        than another.
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

    epochs: int = 40
    batch: int = 128
    patience: int = 10
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    facet_weight: float = 0.3
    outsider_weight: float = 0.3
    gate_penalty: float = 1e-3
    held_out: float = 0.15
    copies: int = 1
    tiles: int = 3000
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
    taxonomy: Taxonomy = CALCITE,
) -> TrainReport:
    """Train a classifier and write its weights; a killed training goes on where it stood.

    Parameters
    ----------
    data : Path or None
        Class folders, a folder with `labels.csv`, or a rendered core (see
        `mcn.classify.labelled.read_examples`); None renders tiles of random settings.
    out : Path
        `.safetensors` file to write; the log goes beside it, as `.jsonl`.
    settings : TrainSettings
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
    from mcn.classify.labelled import read_examples

    if out.suffix != ".safetensors" or out.is_dir():
        raise ClassifierError(f"{out}: weights need a .safetensors file; name one to write")
    if data is None and taxonomy != CALCITE:
        raise ExamplesError(
            f"no crystals of {', '.join(taxonomy.shapes)} can be rendered; give labelled ones"
        )
    settings = replace(settings, network=replace(settings.network, taxonomy=taxonomy))
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
        run = Training(out, settings, max(1, min(len(train), _EPOCH) // settings.batch))
        run.fit(train, held_out, start)
    classifier = calibrate(run.network, train, held_out, settings.seed)
    name = save_classifier(
        out,
        run.network,
        classifier.temperature,
        classifier.trust,
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


class Training:
    """A training on its way, and the file from which it goes on when it was killed.

    Parameters
    ----------
    out : Path
        Weights to come; the log and the resume file lie beside it.
    settings : TrainSettings
    steps : int
        Of an epoch.
    """

    def __init__(self, out: Path, settings: TrainSettings, steps: int) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.steps = settings, steps
        self.log, self.resume = out.with_suffix(".jsonl"), out.with_suffix(".resume.pt")
        self.network = MicroCrystalNet(settings.network)
        self.judge = Classifier(self.network, "training")
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.network, settings), lr=settings.learning_rate
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            settings.learning_rate,
            total_steps=settings.epochs * steps,
            pct_start=0.1,
        )
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.epoch, self.best, self.best_epoch = 0, -1.0, 0
        self.best_weights = self.network.state_dict()
        if self.resume.exists():
            self._go_on()
        else:
            self.log.write_text("")

    def fit(
        self,
        train: Examples,
        held_out: Examples,
        start: Callable[[str, int], Callable[[], None]],
    ) -> None:
        """Train to the end, and leave the weights of the best epoch in the network."""
        left = self.settings.epochs - self.epoch
        step_done = start("training", left * self.steps)
        rng = np.random.default_rng(self.settings.seed)
        others = outsiders(train.crops, min(_OUTSIDERS, len(train)), rng)
        held_out = held_out.take(rng.permutation(len(held_out))[:_JUDGED])
        while self.epoch < self.settings.epochs:
            self.epoch += 1
            loss = self._pass(train, torch.from_numpy(others), step_done)
            taxonomy = held_out.taxonomy
            named = self.judge.classify(held_out.crops).probabilities
            figures = score(held_out.classes, named, taxonomy.shapes, taxonomy.facet_of)
            judged = [ap for ap in figures["average_precision"].values() if ap is not None]
            mean_ap = float(np.mean(judged))
            if mean_ap >= self.best:
                self.best, self.best_epoch = mean_ap, self.epoch
                self.best_weights = {k: v.clone() for k, v in self.network.state_dict().items()}
            line = {
                "epoch": self.epoch,
                "loss": loss,
                "mean_average_precision": mean_ap,
                "accuracy": figures["accuracy"],
                "average_precision": figures["average_precision"],
                "sparsity": self.network.sparsity,
            }
            with self.log.open("a") as lines:
                lines.write(json.dumps(line) + "\n")
            self._keep()
            if self.epoch - self.best_epoch >= self.settings.patience:
                break
        self.network.load_state_dict(self.best_weights)
        self.network.eval()

    def _pass(self, train: Examples, others: Tensor, step_done: Callable[[], None]) -> float:
        """One epoch; its mean loss."""
        settings, device = self.settings, self.judge.device
        self.network.train()
        total = 0.0
        for crops, classes in draw_batches(train, self.steps, settings.batch, self.generator):
            some = torch.randint(
                len(others), (max(settings.batch // _ONE_IN, 1),), generator=self.generator
            )
            mixed = torch.cat([crops, others[some, None].float()])
            seen = augment(mixed, self.generator).to(device)
            with torch.autocast(device.type, torch.bfloat16):
                logits = self.network(seen)
            loss = _loss(logits.float(), classes.to(device), settings)
            self.optimizer.zero_grad()
            (loss + settings.gate_penalty * self.network.gate_sum()).backward()
            self.optimizer.step()
            self.schedule.step()
            for block in self.network.blocks:
                block.project()
            total += loss.item()
            step_done()
        self.network.eval()
        return total / self.steps

    def _keep(self) -> None:
        """Write the resume file, whole or not at all."""
        part = self.resume.with_suffix(".part")
        torch.save({**self._state(), "notes": json.dumps(self.settings.as_dict())}, part)
        part.replace(self.resume)

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "best_weights": self.best_weights,
            "counts": (self.epoch, self.best, self.best_epoch, self.steps),
        }

    def _go_on(self) -> None:
        state = torch.load(self.resume, weights_only=True)
        same = state["notes"] == json.dumps(self.settings.as_dict())
        if not same or state["counts"][3] != self.steps:
            raise ClassifierError(
                f"{self.resume}: holds a training with other settings or data; delete it, or name "
                "another file with --out"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        self.best_weights = state["best_weights"]
        self.epoch, self.best, self.best_epoch, _ = state["counts"]


def _loss(logits: Tensor, classes: Tensor, settings: TrainSettings) -> Tensor:
    """Of a batch whose first crops are crystals of `classes`, the others none."""
    count, taxonomy = len(classes), settings.network.taxonomy
    shape = functional.cross_entropy(
        logits[:count], classes, label_smoothing=settings.label_smoothing
    )
    places = torch.tensor(taxonomy.facet_places, device=logits.device)
    log_p = logits.log_softmax(dim=1)
    of_facet = functional.one_hot(places, len(taxonomy.facets)).to(log_p.dtype)
    facet = -(log_p[:count].exp() @ of_facet).clamp(min=1e-8).log()
    facet = facet.gather(1, places[classes][:, None]).mean()
    outsider = -log_p[count:].mean()
    return shape + settings.facet_weight * facet + settings.outsider_weight * outsider


def _parameter_groups(network: MicroCrystalNet, settings: TrainSettings) -> list[dict[str, Any]]:
    """Weights decay; biases, normalisation and gates do not."""
    decayed = [weights for weights in network.parameters() if weights.ndim > 1]
    others = [weights for weights in network.parameters() if weights.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


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
