"""Training learns, is reproducible, and keeps the crystals of a micrograph together."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import pytest

from mcn.classify.classifier import ClassifierError, load_classifier
from mcn.classify.data.dataset import ExamplesError
from mcn.classify.evaluation.evaluate import evaluate_classifier
from mcn.classify.modeling.network import NetworkSettings
from mcn.classify.training.train import train_classifier
from mcn.classify.training.trainer import ClassifierTrainSettings
from mcn.taxonomy import SHAPES, Taxonomy

Draw = Callable[..., Path]
TINY = ClassifierTrainSettings(
    epochs=16,
    batch=16,
    held_out=0.25,
    tiles=4,
    network=NetworkSettings(stem=8, widths=(8, 12, 16), reduced=(8, 8, 12)),
)


def test_a_short_training_learns_drawn_crystals(draw_folders: Draw, tmp_path: Path) -> None:
    out = tmp_path / "weights" / "drawn.safetensors"
    report = train_classifier(draw_folders(32), out, TINY)
    assert (report.n_train, report.n_held_out) == (96, 32)
    classifier = load_classifier(str(out))
    assert classifier.name == report.name
    assert classifier.temperature == report.temperature
    assert evaluate_classifier(draw_folders(20, seed=9), classifier)["accuracy"] > 0.8

    lines = [json.loads(line) for line in report.log.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, TINY.epochs + 1))
    best = max(lines, key=lambda line: (line["mean_average_precision"], line["epoch"]))
    assert best["epoch"] == report.best_epoch
    again = train_classifier(draw_folders(32, seed=1), tmp_path / "x.safetensors", TINY)
    assert again.name != report.name


@pytest.mark.long
def test_training_renders_its_own_crystals_when_none_are_given(tmp_path: Path) -> None:
    settings = replace(TINY, epochs=1, tiles=5)
    report = train_classifier(None, tmp_path / "rendered.safetensors", settings)
    assert report.n_train > report.n_held_out > 0


def test_few_labels_are_enough_with_pretrained_weights(draw_folders: Draw, tmp_path: Path) -> None:
    """Learn four shapes first, then another list of two shapes from four crystals each."""
    before = tmp_path / "drawn.safetensors"
    train_classifier(draw_folders(32), before, TINY)
    still = replace(TINY, epochs=1, learning_rate=1e-9, start=str(before))
    train_classifier(draw_folders(12, seed=3), tmp_path / "still.safetensors", still)
    same = load_classifier(str(tmp_path / "still.safetensors"))
    assert evaluate_classifier(draw_folders(20, seed=9), same)["accuracy"] > 0.8

    coins = Taxonomy({"spherical": "smooth", "rhombic": "edged"})
    few = draw_folders(8, shapes=("spherical", "rhombic"), seed=5)
    settings = replace(TINY, batch=8, start=str(before))
    train_classifier(few, tmp_path / "coins.safetensors", settings, coins)
    classifier = load_classifier(str(tmp_path / "coins.safetensors"))
    fresh = draw_folders(20, shapes=("spherical", "rhombic"), seed=6)
    assert evaluate_classifier(fresh, classifier)["accuracy"] > 0.8


def test_a_custom_class_list(draw_folders: Draw, tmp_path: Path) -> None:
    coins = Taxonomy({"round": "smooth", "square": "edged"})
    root = draw_folders(32)
    (root / "spherical").rename(root / "round")
    (root / "rhombic").rename(root / "square")
    for other in ("polyhedral", "amorphous"):
        rmtree(root / other)
    out = tmp_path / "coins.safetensors"
    train_classifier(root, out, TINY, coins)
    classifier = load_classifier(str(out))
    assert classifier.taxonomy == coins
    assert evaluate_classifier(root, classifier)["accuracy"] > 0.9
    with pytest.raises(ExamplesError, match="no crystals of round, square can be rendered"):
        train_classifier(None, out, TINY, coins)


def test_a_missing_shape_is_named(draw_folders: Draw, tmp_path: Path) -> None:
    with pytest.raises(ExamplesError, match="no spherical"):
        train_classifier(draw_folders(8, shapes=SHAPES[:3]), tmp_path / "a.safetensors", TINY)
    assert not (tmp_path / "a.safetensors").exists()


def test_an_unusable_output_path_is_refused_before_training(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "weights.bin"):
        with pytest.raises(ClassifierError, match=r"weights are written as \.safetensors"):
            train_classifier(None, out, TINY)


def test_too_few_micrographs_are_refused(draw_folders: Draw, tmp_path: Path) -> None:
    root = draw_folders(4)
    rows = [f"{shape}/{n:03d}.png,{shape},one" for shape in SHAPES for n in range(4)]
    (root / "labels.csv").write_text("\n".join(["file,shape,tile_id", *rows]))
    with pytest.raises(ExamplesError, match="1 micrographs, too few"):
        train_classifier(root, tmp_path / "a.safetensors", TINY)
