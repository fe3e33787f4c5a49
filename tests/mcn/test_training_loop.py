"""Training in epochs keeps the best epoch and continues after an interruption."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mcn.training_loop import EpochHistory, TrainingFiles, run_epochs


class ScriptedTraining:
    """Returns given scores; its weights are the number of the epoch."""

    def __init__(self, scores: list[float], history: EpochHistory) -> None:
        self.scores, self.history = scores, history
        self.weights, self.best_weights = torch.zeros(1), torch.zeros(1)

    def train_epoch(self, epoch: int) -> tuple[float, dict[str, Any]]:
        self.weights = torch.full((1,), float(epoch))
        return self.scores[epoch - 1], {"epoch": epoch}

    def keep_best(self, line: dict[str, Any]) -> None:
        assert line == {"epoch": self.history.best_epoch}
        self.best_weights = self.weights.clone()

    def state(self) -> dict[str, Any]:
        return {"best": self.best_weights, "epoch": self.history.epoch}


def train(folder: Path, scores: list[float], **options: Any) -> tuple[EpochHistory, list[int]]:
    """Run a training; returns the history and the epochs in the log."""
    history, files = EpochHistory(), TrainingFiles(folder / "a.safetensors", ".jsonl")
    files.start()
    training = ScriptedTraining(scores, history)
    run_epochs(training, files, history, len(scores), **options)
    assert training.best_weights.item() == history.best_epoch
    return history, [json.loads(line)["epoch"] for line in files.log.read_text().splitlines()]


@pytest.mark.parametrize(("latest", "best"), [(False, 2), (True, 4)])
def test_the_first_or_the_last_of_equal_epochs_is_kept(
    tmp_path: Path, latest: bool, best: int
) -> None:
    history, epochs = train(tmp_path, [0.1, 0.5, 0.3, 0.5, 0.2], latest_of_equal=latest)
    assert history == EpochHistory(5, best, 0.5)
    assert epochs == [1, 2, 3, 4, 5]


def test_training_stops_after_epochs_without_improvement(tmp_path: Path) -> None:
    history, epochs = train(tmp_path, [0.5, 0.1, 0.2, 0.9], patience=2)
    assert history == EpochHistory(3, 1, 0.5)
    assert epochs == [1, 2, 3]


def test_completed_epochs_are_not_trained_again(tmp_path: Path) -> None:
    history, epochs = EpochHistory(2, 1, 0.5), []
    files = TrainingFiles(tmp_path / "a.safetensors", ".jsonl")
    files.start()
    training = ScriptedTraining([0.5, 0.1, 0.7], history)
    run_epochs(training, files, history, 3, on_epoch=lambda line: epochs.append(line["epoch"]))
    assert epochs == [3]
    assert history == EpochHistory(3, 3, 0.7)


def test_the_resume_file_has_the_last_state_until_training_is_finished(tmp_path: Path) -> None:
    files = TrainingFiles(tmp_path / "a.safetensors", ".jsonl")
    assert files.read_state() is None
    for epoch in (1, 2):
        files.write_epoch({"epoch": epoch}, {"epoch": epoch, "weights": torch.ones(epoch)})
    state = files.read_state("cpu")
    assert state is not None
    assert state["epoch"] == 2
    assert state["weights"].tolist() == [1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "a.resume.pt"]
    files.finish()
    files.finish()
    assert files.read_state() is None
