"""Training in epochs: keep the best weights, write a log, and continue after being killed.

Used by both trainers. A trainer implements `EpochTraining`; `run_epochs` drives it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch


@dataclass
class EpochHistory:
    """Progress of a training.

    Parameters
    ----------
    epoch : int
        Completed epochs.
    best_epoch : int
        Number of the best epoch, from 1; 0 before the first.
    best_score : float
        Score of the best epoch; higher is better.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -1.0


class EpochTraining(Protocol):
    """What `run_epochs` needs from a trainer."""

    def train_epoch(self, epoch: int) -> tuple[float, dict[str, Any]]:
        """Train epoch number `epoch`, from 1; returns its score and its line of the log."""

    def keep_best(self, line: dict[str, Any]) -> None:
        """Keep the current weights, which are the best so far; `line` is their line of the log."""

    def state(self) -> dict[str, Any]:
        """Everything that a killed training needs to continue, as `torch.save` takes it."""


class TrainingFiles:
    """The log and the resume file of a training, beside its weights.

    Parameters
    ----------
    weights : Path
        File of the weights.
    log_suffix : str
        Suffix of the log, which has one line of JSON per epoch.
    """

    def __init__(self, weights: Path, log_suffix: str) -> None:
        self.log = weights.with_suffix(log_suffix)
        self.resume = weights.with_suffix(".resume.pt")

    def start(self) -> None:
        """Start an empty log."""
        self.log.write_text("")

    def read_state(self, device: torch.device | str = "cpu") -> dict[str, Any] | None:
        """The state of a killed training with its tensors on `device`; None if there is none."""
        if not self.resume.exists():
            return None
        state: dict[str, Any] = torch.load(self.resume, map_location=device, weights_only=True)
        return state

    def write_epoch(self, line: dict[str, Any], state: dict[str, Any]) -> None:
        """Append a line to the log and replace the resume file atomically."""
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        partial = self.resume.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(self.resume)

    def finish(self) -> None:
        """Delete the resume file of a completed training."""
        self.resume.unlink(missing_ok=True)


def run_epochs(
    training: EpochTraining,
    files: TrainingFiles,
    history: EpochHistory,
    epochs: int,
    *,
    patience: int | None = None,
    latest_of_equal: bool = False,
    on_epoch: Callable[[dict[str, Any]], None] = lambda line: None,
) -> None:
    """Train the remaining epochs.

    Parameters
    ----------
    training : EpochTraining
    files : TrainingFiles
        Written after each epoch.
    history : EpochHistory
        Where to continue from; updated before `training.state()` is called.
    epochs : int
        Total number of epochs, including completed ones.
    patience : int, optional
        Epochs without improvement after which training stops.
    latest_of_equal : bool
        If epochs have the same score, keep the last rather than the first.
    on_epoch : callable
        Called with an epoch's line of the log, after the files are written.
    """
    while history.epoch < epochs:
        score, line = training.train_epoch(history.epoch + 1)
        history.epoch += 1
        if score > history.best_score or (latest_of_equal and score == history.best_score):
            history.best_score, history.best_epoch = score, history.epoch
            training.keep_best(line)
        files.write_epoch(line, training.state())
        on_epoch(line)
        if patience is not None and history.epoch - history.best_epoch >= patience:
            break
