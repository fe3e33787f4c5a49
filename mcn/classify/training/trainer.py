"""Trains a MicroCrystalNet; an interrupted training continues from its resume file."""

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
from mcn.classify.evaluation.scores import score
from mcn.classify.modeling.network import MicroCrystalNet, NetworkSettings
from mcn.segment.modeling.number_format import autocast
from mcn.training_loop import EpochHistory, TrainingFiles, run_epochs

StartProgress = Callable[[str, int], Callable[[], None]]
"""Takes a description and a total; returns the function to call after each step."""

_MAX_EVALUATED = 10_000  # held-out crops that choose the best epoch
_OUTLIERS = 4096
_CROPS_PER_OUTLIER = 8


@dataclass(frozen=True)
class ClassifierTrainSettings:
    """How a classifier is trained.

    Parameters
    ----------
    epochs : int
        Passes over the training examples, or over 50,000 drawn from them if there are more.
    batch : int
        Crops per step.
    patience : int
        Epochs without improvement after which training stops.
    learning_rate, weight_decay : float
        Of AdamW; the rate warms up and then falls along a cosine.
    label_smoothing : float
        Share of each label that is spread over all classes.
    facet_weight : float
        Weight of the facet definition in the loss; the shape has weight 1.
    outlier_weight : float
        Weight of the loss of crops without a crystal, for which all shapes should be equally
        likely.
    gate_penalty : float
        Weight of the sum of gates in the loss; a larger one closes more feature maps.
    held_out : float
        Share of the groups of crystals held out from training. They choose the best epoch and the
        temperature.
    copies : int
        Crops with a perturbed mask for each crystal, if its micrograph is available.
    tiles : int
        Tiles to render if no data are given.
    seed : int
        Seed of rendering, split, initial weights, sampling and augmentation.
    network : NetworkSettings
        Sizes of the network.
    choose_epoch : bool
        Whether held-out crops choose the best epoch; otherwise the last is kept, because few
        crops cannot choose well.
    start : str, optional
        Name or path of a classifier to start from, which also gives the sizes. Its heads are
        initialised from scratch if its shapes differ. None starts from random weights.
    """

    epochs: int = 40
    batch: int = 128
    patience: int = 10
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    facet_weight: float = 0.3
    outlier_weight: float = 0.3
    gate_penalty: float = 1e-3
    held_out: float = 0.15
    copies: int = 1
    tiles: int = 3000
    seed: int = 0
    network: NetworkSettings = field(default_factory=NetworkSettings)
    choose_epoch: bool = True
    start: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, with the keys that weights files have."""
        values = {setting.name: getattr(self, setting.name) for setting in fields(self)}
        values["network"] = self.network.as_dict()
        # Weights files have always used this key.
        return {_KEYS.get(name, name): value for name, value in values.items()}


FINE_TUNING = ClassifierTrainSettings(
    epochs=20, batch=32, learning_rate=1e-3, choose_epoch=False, start="nsr"
)
"""For few labels of one rock, from a trained classifier."""

_KEYS = {"outlier_weight": "outsider_weight"}


class ClassifierTrainer:
    """Trains one network.

    Parameters
    ----------
    out : Path
        File for the weights; the log (`.jsonl`) and the resume file are written beside it.
    settings : ClassifierTrainSettings
    steps : int
        Steps per epoch.
    train, held_out : Examples
        Examples to learn from, and those that choose the best epoch.
    start_from : MicroCrystalNet, optional
        Network of the same sizes that gives the initial weights.

    Raises
    ------
    ClassifierError
        If the resume file belongs to a training with other settings or data.
    """

    def __init__(
        self,
        out: Path,
        settings: ClassifierTrainSettings,
        steps: int,
        train: Examples,
        held_out: Examples,
        start_from: MicroCrystalNet | None = None,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.steps, self.train = settings, steps, train
        rng = np.random.default_rng(settings.seed)
        self.outliers = torch.from_numpy(outliers(train.crops, min(_OUTLIERS, len(train)), rng))
        self.held_out = held_out.take(rng.permutation(len(held_out))[:_MAX_EVALUATED])
        self.network = MicroCrystalNet(settings.network)
        if start_from is not None:
            _copy_weights(start_from, self.network)
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
        self.files, self.history = TrainingFiles(out, ".jsonl"), EpochHistory()
        self.best_weights = self.network.state_dict()
        self._on_step: Callable[[], None] = lambda: None
        state = self.files.read_state()
        if state is None:
            self.files.start()
        else:
            self._load_state(state)

    def run(self, start_progress: StartProgress) -> None:
        """Train the remaining epochs and put the weights of the best epoch into the network."""
        remaining = self.settings.epochs - self.history.epoch
        self._on_step = start_progress("training", remaining * self.steps)
        run_epochs(
            self,
            self.files,
            self.history,
            self.settings.epochs,
            patience=self.settings.patience,
            latest_of_equal=True,
        )
        self.network.load_state_dict(self.best_weights)
        self.network.eval()

    def train_epoch(self, epoch: int) -> tuple[float, dict[str, Any]]:
        """Train one epoch; returns the mean average precision and the line of the log."""
        loss = self._train_steps()
        taxonomy = self.held_out.taxonomy
        probabilities = self.evaluator.classify(self.held_out.crops).probabilities
        metrics = score(self.held_out.classes, probabilities, taxonomy.shapes, taxonomy.facet_of)
        defined = [ap for ap in metrics["average_precision"].values() if ap is not None]
        mean_ap = float(np.mean(defined)) if defined else None
        # Of epochs with the same score, the last is kept.
        score_of_epoch = (mean_ap or 0.0) if self.settings.choose_epoch else 0.0
        return score_of_epoch, {
            "epoch": epoch,
            "loss": loss,
            "mean_average_precision": mean_ap,
            "accuracy": metrics["accuracy"],
            "average_precision": metrics["average_precision"],
            "sparsity": self.network.sparsity,
        }

    def keep_best(self, line: dict[str, Any]) -> None:
        """Copy the current weights, which are the best so far."""
        weights = self.network.state_dict()
        self.best_weights = {name: tensor.clone() for name, tensor in weights.items()}

    def state(self) -> dict[str, Any]:
        """The content of the resume file."""
        history = self.history
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "best_weights": self.best_weights,
            "counts": (history.epoch, history.best_score, history.best_epoch, self.steps),
            "notes": json.dumps(self.settings.as_dict()),
        }

    def _load_state(self, state: dict[str, Any]) -> None:
        epoch, best_score, best_epoch, steps = state["counts"]
        if state["notes"] != json.dumps(self.settings.as_dict()) or steps != self.steps:
            raise ClassifierError(
                f"{self.files.resume}: is from a training with different settings or data; "
                "delete it, or give another file with --out"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        self.best_weights = state["best_weights"]
        self.history = EpochHistory(epoch, best_epoch, best_score)

    def _train_steps(self) -> float:
        """Train the steps of one epoch; returns the mean loss."""
        settings, device = self.settings, self.evaluator.device
        self.network.train()
        total = 0.0
        for crops, classes in draw_batches(self.train, self.steps, settings.batch, self.generator):
            batch = augment(self._with_outliers(crops), self.generator).to(device)
            with autocast(device):
                logits = self.network(batch)
            loss = _loss(logits.float(), classes.to(device), settings)
            self.optimizer.zero_grad()
            (loss + settings.gate_penalty * self.network.gate_sum()).backward()
            self.optimizer.step()
            self.schedule.step()
            for block in self.network.blocks:
                block.project()
            total += loss.item()
            self._on_step()
        self.network.eval()
        return total / self.steps

    def _with_outliers(self, crops: Tensor) -> Tensor:
        """A batch followed by some outliers."""
        count = max(self.settings.batch // _CROPS_PER_OUTLIER, 1)
        rows = torch.randint(len(self.outliers), (count,), generator=self.generator)
        return torch.cat([crops, self.outliers[rows, None].float()])


def _copy_weights(source: MicroCrystalNet, target: MicroCrystalNet) -> None:
    """Copy weights between networks of the same sizes; heads only if the shapes are the same."""
    same_shapes = source.settings.taxonomy == target.settings.taxonomy
    copied = {
        name: weights
        for name, weights in source.state_dict().items()
        if same_shapes or not name.startswith(("shape_head", "facet_head"))
    }
    target.load_state_dict({**target.state_dict(), **copied})


def _loss(logits: Tensor, classes: Tensor, settings: ClassifierTrainSettings) -> Tensor:
    """Loss of a batch: the first crops are crystals of `classes`, the rest are outliers."""
    count, taxonomy = len(classes), settings.network.taxonomy
    shape = functional.cross_entropy(
        logits[:count], classes, label_smoothing=settings.label_smoothing
    )
    facets = torch.tensor(taxonomy.facet_indices, device=logits.device)
    log_p = logits.log_softmax(dim=1)
    of_facet = functional.one_hot(facets, len(taxonomy.facets)).to(log_p.dtype)
    facet = -(log_p[:count].exp() @ of_facet).clamp(min=1e-8).log()
    facet = facet.gather(1, facets[classes][:, None]).mean()
    outlier = -log_p[count:].mean()
    return shape + settings.facet_weight * facet + settings.outlier_weight * outlier


def _parameter_groups(
    network: MicroCrystalNet, settings: ClassifierTrainSettings
) -> list[dict[str, Any]]:
    """Weight decay for weights, none for biases, normalisation and gates."""
    decayed = [weights for weights in network.parameters() if weights.ndim > 1]
    others = [weights for weights in network.parameters() if weights.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
