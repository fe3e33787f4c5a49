"""The published predictions reproduce the published table."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from mcn.classify.evaluation.predictions import (
    COUNTS,
    PredictionsError,
    evaluate_predictions,
    read_predictions,
)
from mcn.classify.evaluation.tables import confusion_table, key_table, shape_table
from mcn.classify.modeling.published import CLASS_ORDER, RELEASED_ORDER
from mcn.cli.main import app

RELEASED = (
    Path(__file__).resolve().parents[4]
    / "../shared/data/published-mcn/CNN_2023-11-19_11-47-51_run1_test_predictions.npy"
).resolve()
needs_released = pytest.mark.skipif(
    not RELEASED.is_file(), reason="../shared, with the authors' predictions, is absent"
)


def mcn(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@needs_released
def test_the_published_table_is_reproduced() -> None:
    metrics = evaluate_predictions(*read_predictions(RELEASED))
    assert tuple(metrics["n_by_shape"].values()) == COUNTS == (117, 95, 83, 80)
    assert metrics["accuracy"] == pytest.approx(0.9200, abs=5e-5)
    assert metrics["top2_accuracy"] == pytest.approx(0.9653333, abs=1e-6)
    assert metrics["loss"] == pytest.approx(0.41851457953453064, abs=1e-6)
    for name, values in {
        "average_precision": [0.984, 0.966, 0.979, 0.926],
        "roc_auc": [0.993, 0.978, 0.994, 0.953],
    }.items():
        # Tolerance 0.001: one of the AUCs, 0.99348, is given as 0.994.
        assert list(metrics[name].values()) == pytest.approx(values, abs=6e-4)
    assert metrics["confusion"] == [[114, 1, 1, 1], [6, 85, 1, 3], [0, 0, 74, 9], [3, 4, 1, 72]]


@needs_released
def test_the_order_of_classes_changes_only_their_names() -> None:
    sorted_names = evaluate_predictions(*read_predictions(RELEASED))
    as_in_figures = evaluate_predictions(*read_predictions(RELEASED), RELEASED_ORDER)
    assert sorted_names["confusion"] == as_in_figures["confusion"]
    assert sorted_names["roc_auc"]["amorphous"] == as_in_figures["roc_auc"]["polyhedral"]
    assert tuple(sorted_names["roc_auc"]) == CLASS_ORDER


@needs_released
def test_the_command_writes_table_json_and_pictures(tmp_path: Path) -> None:
    done = mcn("evaluate", "classifier", "--predictions", RELEASED, "--json", "--report", tmp_path)
    metrics = json.loads(done.stdout)
    assert metrics["accuracy"] == 0.92
    assert json.loads((tmp_path / "figures.json").read_text()) == metrics
    assert RELEASED.name in (tmp_path / "index.html").read_text()
    for name in ("confusion", "precision_recall", "roc", "reliability"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert len(picture.getcolors(2**20) or []) > 20


@needs_released
def test_the_tables_have_one_row_per_class() -> None:
    metrics = evaluate_predictions(*read_predictions(RELEASED))
    name, count, ap, auc, _ = shape_table(metrics)[1]
    assert (name, count, ap[:5], auc[:5]) == ("0 amorphous", "117", "0.984", "0.993")
    assert confusion_table(metrics)[1] == ["0 amorphous", "114", "1", "1", "1"]
    key = {row[0]: row[1] for row in key_table(metrics)}
    assert key["cross-entropy (nats)"] == "0.4185"
    assert key["accuracy"].startswith("0.920 [0.8")
    assert key["accuracy of the two most probable"] == "0.9653"


@needs_released
def test_the_table_has_intervals_and_a_balanced_accuracy() -> None:
    classes, probabilities = read_predictions(RELEASED)
    metrics = evaluate_predictions(classes, probabilities)
    is_correct = probabilities.argmax(axis=1) == classes
    assert metrics["balanced_accuracy"] == pytest.approx(
        np.mean([is_correct[classes == place].mean() for place in range(4)])
    )
    assert metrics["intervals"]["of"] == "crystals"
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
        low, high = metrics["intervals"][name]
        assert low < metrics[name] < high


def test_two_classes_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "two.npy"
    np.save(path, np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]))
    metrics = evaluate_predictions(*read_predictions(path, (2, 1)), ("cubic", "platy"))
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["loss"] == pytest.approx(-np.log(0.9 * 0.4 * 0.8) / 3, abs=1e-6)
    assert metrics["confusion"] == [[1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (np.full((3, 4), 0.25, np.float32), r"not the probabilities \(375, 4\)"),
        (np.full((375, 4), 1, np.int64), "contains int64"),
        (np.full((375, 4), 0.5), "not probabilities"),
        (np.full((375, 4), np.nan), "not probabilities"),
        (np.full((375, 4), None), "cannot be read"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, stored: NDArray[np.generic], reason: str) -> None:
    path = tmp_path / "predictions.npy"
    np.save(path, stored, allow_pickle=True)
    with pytest.raises(PredictionsError, match=reason):
        read_predictions(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npy"
    with pytest.raises(PredictionsError, match="cannot be read"):
        read_predictions(path)
    path.write_text("text")
    with pytest.raises(PredictionsError, match="cannot be read"):
        read_predictions(path)
    np.save(path, np.full((375, 4), 0.25))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(PredictionsError, match="cannot be read"):
        read_predictions(path)
    with pytest.raises(PredictionsError, match="name 4 different shapes"):
        evaluate_predictions(np.zeros(1, np.int64), np.full((1, 4), 0.25, np.float32), ("a", "b"))


@pytest.mark.parametrize(
    "arguments",
    [(), ("core", "--predictions", "x.npy"), ("--predictions", "x.npy", "--counts", "1,many")],
)
def test_wrong_usage_is_refused(arguments: tuple[str, ...]) -> None:
    assert mcn("evaluate", "classifier", *arguments).exit_code == 2


def test_the_command_accepts_counts_and_names(tmp_path: Path) -> None:
    path = tmp_path / "two.npy"
    np.save(path, np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]))
    names = ("--counts", "2,1", "--class-order", "cubic,platy")
    done = mcn("evaluate", "classifier", "--predictions", path, *names)
    (row,) = [line.split() for line in done.stdout.splitlines() if "1 platy" in line][:1]
    assert row[:4] == ["1", "platy", "1", "1.000"]
    assert "true / predicted:  0  1" in done.stdout


def test_predictions_cannot_be_segmented_again() -> None:
    assert mcn("evaluate", "classifier", "--predictions", "x.npy", "--limit", 3).exit_code == 2
