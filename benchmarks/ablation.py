"""What each step of the Normalized Sparse Reduction block is worth.

Four networks of the same number of parameters learn from the same rendered crystals for as
long: a plain CNN, and with normalisation, reduction and sparse selection added one after
another. Each is trained with two learning rates, and the better by held-out average precision
is judged on crystals of other tiles, with their true masks. Prints one JSON object.

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
from mcn.classify.evaluation.bootstrap import weighted_metrics
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
    parser.add_argument("--tiles", type=int, default=250, help="rendered tiles to learn from")
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
    weights = drawn_anew(test.groups)
    rows: dict[str, dict[str, Any]] = {}
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name, steps in NETWORKS.items():
        settings = ClassifierTrainSettings(
            epochs=options.epochs, seed=options.seed, network=of_equal_size(steps)
        )
        best, seconds = train_with_best_rate(settings, train, held_out)
        p = CropClassifier(best.network, name).classify(test.crops).probabilities
        once = weighted_metrics(np.ones((1, len(test))), test.classes, p)
        values[name] = weighted_metrics(weights, test.classes, p)
        rows[name] = {
            "parameters": size(best.network),
            "learning_rate": best.settings.learning_rate,
            "sparsity": round(best.network.sparsity, 3),
            "seconds": round(seconds, 1),
            **{
                metric: {
                    "value": round(float(once[metric][0]), 4),
                    "interval_95": ends(values[name][metric]),
                    "above_plain_95": ends(values[name][metric] - values["plain CNN"][metric]),
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


def of_equal_size(steps: tuple[str, ...]) -> NetworkSettings:
    """Settings with these steps and as nearly as can be the parameters of the whole network."""
    whole = NetworkSettings()
    target = size(MicroCrystalNet(whole))

    def scaled(by: float) -> NetworkSettings:
        one, two, three = (round(width * by) for width in whole.widths)
        return replace(whole, steps=steps, widths=(one, two, three))

    candidates = [scaled(by) for by in np.linspace(0.5, 1.5, 201)]
    return min(candidates, key=lambda one: abs(size(MicroCrystalNet(one)) - target))


def size(network: MicroCrystalNet) -> int:
    """Parameters that are learnt."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def train_with_best_rate(
    settings: ClassifierTrainSettings, train: Examples, held_out: Examples
) -> tuple[ClassifierTrainer, float]:
    """The better of the trainings at each rate, and the seconds that all of them took."""
    began = time.perf_counter()
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
    return best, time.perf_counter() - began


def no_progress(description: str, total: int) -> Callable[[], None]:
    return lambda: None


def drawn_anew(groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Times (resamples, N) that each crystal is drawn, with its whole tile."""
    tiles, tile_of = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(tiles), np.full(len(tiles), 1 / len(tiles)), size=RESAMPLES)
    return times[:, tile_of].astype(np.float64)


def ends(values: NDArray[np.float64]) -> list[float]:
    return [round(float(end), 4) for end in np.quantile(values, [0.025, 0.975])]


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
