"""One training of a MicroCrystalNet: its settings, its steps and its resume file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mcn.classify.classifier import ClassifierError, CropClassifier
from mcn.classify.data.augment import augment
from mcn.classify.data.dataset import Examples
from mcn.classify.data.outliers import outliers
from mcn.classify.data.sampling import draw_batches
from mcn.classify.evaluation.evaluate import score
from mcn.classify.modeling.network import MicroCrystalNet, NetworkSettings
from mcn.segment.modeling.processor import autocast

_JUDGED = 10_000  # held-out crops that choose the epoch
_OUTLIERS = 4096
_ONE_IN = 8  # crops of a batch that are outliers


@dataclass(frozen=True)
class ClassifierTrainSettings:
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
        Crops with a perturbed mask that are made of every crystal whose micrograph is there.
    tiles : int
        Tiles rendered when no data are given.
    seed : int
        Of rendering, split, initial weights, sampling and augmentation.
    network : NetworkSettings
        Sizes of the network.
    start : str, optional
        Classifier, by name or path, whose weights to start from, and whose sizes to take; the
        heads start anew where its shapes are others. None starts from random weights.
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
    start: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**plain, "network": self.network.as_dict()}


class Training:
    """A training on its way, and the file from which it goes on when it was killed.

    Parameters
    ----------
    out : Path
        Weights to come; the log and the resume file lie beside it.
    settings : ClassifierTrainSettings
    steps : int
        Of an epoch.
    beginning : MicroCrystalNet, optional
        Network of the same sizes whose weights to start from.
    """

    def __init__(
        self,
        out: Path,
        settings: ClassifierTrainSettings,
        steps: int,
        beginning: MicroCrystalNet | None = None,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.steps = settings, steps
        self.log, self.resume = out.with_suffix(".jsonl"), out.with_suffix(".resume.pt")
        self.network = MicroCrystalNet(settings.network)
        if beginning is not None:
            same = beginning.settings.taxonomy == settings.network.taxonomy
            learnt = {
                name: weights
                for name, weights in beginning.state_dict().items()
                if same or not name.startswith(("shape_head", "facet_head"))
            }
            self.network.load_state_dict({**self.network.state_dict(), **learnt})
        self.evaluator = CropClassifier(self.network, "training")
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
        others = outliers(train.crops, min(_OUTLIERS, len(train)), rng)
        held_out = held_out.take(rng.permutation(len(held_out))[:_JUDGED])
        while self.epoch < self.settings.epochs:
            self.epoch += 1
            loss = self._pass(train, torch.from_numpy(others), step_done)
            taxonomy = held_out.taxonomy
            named = self.evaluator.classify(held_out.crops).probabilities
            metrics = score(held_out.classes, named, taxonomy.shapes, taxonomy.facet_of)
            evaluated = [ap for ap in metrics["average_precision"].values() if ap is not None]
            mean_ap = float(np.mean(evaluated))
            if mean_ap >= self.best:
                self.best, self.best_epoch = mean_ap, self.epoch
                self.best_weights = {k: v.clone() for k, v in self.network.state_dict().items()}
            line = {
                "epoch": self.epoch,
                "loss": loss,
                "mean_average_precision": mean_ap,
                "accuracy": metrics["accuracy"],
                "average_precision": metrics["average_precision"],
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
        settings, device = self.settings, self.evaluator.device
        self.network.train()
        total = 0.0
        for crops, classes in draw_batches(train, self.steps, settings.batch, self.generator):
            some = torch.randint(
                len(others), (max(settings.batch // _ONE_IN, 1),), generator=self.generator
            )
            mixed = torch.cat([crops, others[some, None].float()])
            seen = augment(mixed, self.generator).to(device)
            with autocast(device):
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


def _loss(logits: Tensor, classes: Tensor, settings: ClassifierTrainSettings) -> Tensor:
    """Of a batch whose first crops are crystals of `classes`, the others none."""
    count, taxonomy = len(classes), settings.network.taxonomy
    shape = functional.cross_entropy(
        logits[:count], classes, label_smoothing=settings.label_smoothing
    )
    places = torch.tensor(taxonomy.facet_indices, device=logits.device)
    log_p = logits.log_softmax(dim=1)
    of_facet = functional.one_hot(places, len(taxonomy.facets)).to(log_p.dtype)
    facet = -(log_p[:count].exp() @ of_facet).clamp(min=1e-8).log()
    facet = facet.gather(1, places[classes][:, None]).mean()
    outsider = -log_p[count:].mean()
    return shape + settings.facet_weight * facet + settings.outsider_weight * outsider


def _parameter_groups(
    network: MicroCrystalNet, settings: ClassifierTrainSettings
) -> list[dict[str, Any]]:
    """Weights decay; biases, normalisation and gates do not."""
    decayed = [weights for weights in network.parameters() if weights.ndim > 1]
    others = [weights for weights in network.parameters() if weights.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
