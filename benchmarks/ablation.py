"""Ablation of the steps of the Normalized Sparse Reduction block.

Four networks with the same number of parameters are trained on the same rendered crystals for
the same number of epochs: a plain CNN, and with normalisation, reduction and sparse selection
added one after another. Each is trained with two learning rates, and the better one by held-out
average precision is evaluated on crystals of other tiles, with their true masks. Prints one JSON
object.

    python benchmarks/ablation.py [--tiles N] [--test-tiles N] [--epochs N] [--seed S]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcn.classify.classifier import CropClassifier
from mcn.classify.data.dataset import Examples, render_examples
from mcn.classify.data.sampling import split_examples
from mcn.classify.evaluation.metrics import weighted_metrics
from mcn.classify.modeling.network import STEPS, MicroCrystalNet, NetworkSettings
from mcn.classify.training.trainer import ClassifierTrainer, ClassifierTrainSettings

NETWORKS = {
    "plain CNN": (),
    "+ normalisation": STEPS[:1],
    "+ reduction": STEPS[:2],
    "+ sparse selection": STEPS,
}
RATES = (2e-3, 5e-4)
RESAMPLES = 1000
METRICS = ("accuracy", "balanced_accuracy", "macro_average_precision", "macro_roc_auc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=250, help="rendered tiles to train on")
    parser.add_argument("--test-tiles", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=31)
    options = parser.parse_args()
    examples = render_examples(
        options.tiles, options.seed, copies=0, workers=options.workers, on_tile=lambda: None
    )
    test = render_examples(
        options.test_tiles, options.seed + 1_000_000, copies=0, workers=options.workers
    )
    train, held_out = split_examples(examples, held_out=0.15, seed=options.seed)
    weights = resample_counts(test.groups)
    rows: dict[str, dict[str, Any]] = {}
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name, steps in NETWORKS.items():
        settings = ClassifierTrainSettings(
            epochs=options.epochs, seed=options.seed, network=equal_size_settings(steps)
        )
        best, seconds = train_with_best_rate(settings, train, held_out)
        p = CropClassifier(best.network, name).classify(test.crops).probabilities
        metrics = weighted_metrics(np.ones((1, len(test))), test.classes, p)
        values[name] = weighted_metrics(weights, test.classes, p)
        rows[name] = {
            "parameters": size(best.network),
            "learning_rate": best.settings.learning_rate,
            "sparsity": round(best.network.sparsity, 3),
            "seconds": round(seconds, 1),
            **{
                metric: {
                    "value": round(float(metrics[metric][0]), 4),
                    "interval_95": interval(values[name][metric]),
                    "above_plain_95": interval(values[name][metric] - values["plain CNN"][metric]),
                }
                for metric in METRICS
            },
        }
    print(
        json.dumps(
            {
                "tiles": options.tiles,
                "epochs": options.epochs,
                "seed": options.seed,
                "n_train": len(train),
                "n_test": len(test),
                "networks": rows,
            }
        )
    )


def equal_size_settings(steps: tuple[str, ...]) -> NetworkSettings:
    """Settings with these steps and about as many parameters as the whole network."""
    whole = NetworkSettings()
    target = size(MicroCrystalNet(whole))

    def scaled(factor: float) -> NetworkSettings:
        first, second, third = (round(width * factor) for width in whole.widths)
        return replace(whole, steps=steps, widths=(first, second, third))

    candidates = [scaled(factor) for factor in np.linspace(0.5, 1.5, 201)]
    return min(candidates, key=lambda sizes: abs(size(MicroCrystalNet(sizes)) - target))


def size(network: MicroCrystalNet) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def train_with_best_rate(
    settings: ClassifierTrainSettings, train: Examples, held_out: Examples
) -> tuple[ClassifierTrainer, float]:
    """The best of the trainings at each rate, and the seconds that all of them took."""
    started = time.perf_counter()
    trainers = []
    steps = max(1, len(train) // settings.batch)
    for rate in RATES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.safetensors"
            at_rate = replace(settings, learning_rate=rate)
            trainer = ClassifierTrainer(path, at_rate, steps, train, held_out)
            trainer.run(no_progress)
        trainers.append(trainer)
    best = max(trainers, key=lambda trainer: trainer.history.best_score)
    return best, time.perf_counter() - started


def no_progress(description: str, total: int) -> Callable[[], None]:
    return lambda: None


def resample_counts(groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Number of times (resamples, N) that each crystal is drawn; tiles are drawn whole."""
    tiles, tile_of = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(tiles), np.full(len(tiles), 1 / len(tiles)), size=RESAMPLES)
    return counts[:, tile_of].astype(np.float64)


def interval(values: NDArray[np.float64]) -> list[float]:
    return [round(float(end), 4) for end in np.quantile(values, [0.025, 0.975])]


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
