"""A training continues after an interruption, stops in time, and starts from other weights."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mcn.classify.classifier import ClassifierError
from mcn.classify.data.augment import augment
from mcn.classify.data.dataset import Examples
from mcn.classify.modeling.network import MicroCrystalNet, NetworkSettings
from mcn.classify.training.train import train_classifier
from mcn.classify.training.trainer import ClassifierTrainer, ClassifierTrainSettings
from mcn.taxonomy import Taxonomy

Draw = Callable[..., Path]
SMALL = NetworkSettings(stem=8, widths=(8, 12, 16), reduced=(8, 8, 12))
TINY = ClassifierTrainSettings(epochs=16, batch=16, held_out=0.25, network=SMALL)


def test_a_killed_training_continues_where_it_stopped(
    draw_folders: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, settings = draw_folders(32), replace(TINY, epochs=5)
    uninterrupted = train_classifier(data, tmp_path / "whole" / "a.safetensors", settings)
    calls = []

    def killed(*arguments: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return augment(*arguments)

    out = tmp_path / "cut" / "a.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("mcn.classify.training.trainer.augment", killed)
        with pytest.raises(KeyboardInterrupt):
            train_classifier(data, out, settings)
    assert len(out.with_suffix(".jsonl").read_text().splitlines()) == 3
    with pytest.raises(ClassifierError, match=r"a\.resume\.pt: is from a training with different"):
        train_classifier(data, out, replace(settings, seed=1))
    assert train_classifier(data, out, settings).name == uninterrupted.name
    assert out.with_suffix(".jsonl").read_text() == uninterrupted.log.read_text()
    assert sorted(path.name for path in out.parent.iterdir()) == ["a.jsonl", "a.safetensors"]


def test_training_stops_without_improvement(draw_folders: Draw, tmp_path: Path) -> None:
    settings = replace(TINY, epochs=30, patience=2, learning_rate=1e-12)
    report = train_classifier(draw_folders(32), tmp_path / "a.safetensors", settings)
    assert len(report.log.read_text().splitlines()) < 30


def noise(count: int = 8) -> Examples:
    rng = np.random.default_rng(0)
    return Examples(
        rng.integers(1, 255, (count, 64, 64), dtype=np.uint8),
        np.arange(count) % 2,
        np.arange(count),
        np.ones(count, np.float32),
        np.zeros(count, bool),
    )


def trainer_of(folder: Path, shapes: Taxonomy, start_from: MicroCrystalNet) -> ClassifierTrainer:
    settings = replace(TINY, network=replace(SMALL, taxonomy=shapes))
    out = folder / "a.safetensors"
    return ClassifierTrainer(out, settings, 1, noise(), noise(), start_from)


def test_only_heads_of_other_shapes_are_initialized(tmp_path: Path) -> None:
    coins = Taxonomy({"round": "smooth", "square": "edged"})
    dice = Taxonomy({"cube": "flat", "ball": "none"})
    torch.manual_seed(1)
    pretrained = MicroCrystalNet(replace(SMALL, taxonomy=coins))
    same = trainer_of(tmp_path, coins, pretrained).network.state_dict()
    assert all(
        torch.equal(same[name], weights) for name, weights in pretrained.state_dict().items()
    )
    other = trainer_of(tmp_path, dice, pretrained).network.state_dict()
    changed = {
        n for n, weights in pretrained.state_dict().items() if not torch.equal(other[n], weights)
    }
    assert changed
    assert all(name.startswith(("shape_head", "facet_head")) for name in changed)


def test_settings_are_plain_values_with_the_keys_of_weights_files() -> None:
    values = ClassifierTrainSettings(outlier_weight=0.5).as_dict()
    assert values["outsider_weight"] == 0.5
    assert "outlier_weight" not in values
    assert json.loads(json.dumps(values))["network"]["stem"] == values["network"]["stem"]
