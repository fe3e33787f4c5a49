"""Corrections say how good the models of a catalogue are on its rock."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mcn.catalog.correcting.changes import undo
from mcn.catalog.learning.evaluation import evaluate_corrections
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.store import Catalog
from mcn.mask import Mask, encode_rle

from ....waiting import DEADLINE_S
from ..conftest import Commit, MakeCrystal, MakeTile
from .conftest import Rock, crystals


def box(x: int, y: int, w: int = 5, h: int = 6) -> Mask:
    return Mask(x, y, np.ones((h, w), dtype=bool))


def only(models: list[dict[str, Any]]) -> dict[str, Any]:
    (metrics,) = models
    return metrics


def test_without_corrections_nothing_is_known(rock: Rock) -> None:
    evaluation = evaluate_corrections(rock.catalog)
    assert (evaluation["corrections"], evaluation["tiles"]) == (0, 0)
    assert evaluation["classifiers"] == evaluation["segmenters"] == []
    with pytest.raises(CatalogQueryError, match="'B'"):
        evaluate_corrections(rock.catalog, ["B"])


def test_names_judge_the_classifier(rock: Rock) -> None:
    rock.write("shape", 10, 0, 1, shape="rhombic")
    rock.write("shape", 10, 2, shape="polyhedral")
    rock.write("shape", 5, 2, shape="spherical")
    evaluation = evaluate_corrections(rock.catalog)
    metrics = only(evaluation["classifiers"])
    assert (evaluation["corrections"], evaluation["by_operation"]) == (35, {"shape": 35})
    assert (metrics["n"], metrics["n_tiles"]) == (30, 10)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["n_by_shape"]["spherical"] == 5
    assert metrics["confusion"][metrics["shapes"].index("spherical")] == [5, 0, 0, 0]
    assert metrics["precision"]["rhombic"] == pytest.approx(2 / 3)
    assert (metrics["recall"]["rhombic"], metrics["recall"]["spherical"]) == (1.0, 0.0)
    assert metrics["precision"]["spherical"] is None
    low, high = metrics["intervals"]["accuracy"]
    assert low <= 2 / 3 <= high
    assert metrics["intervals"]["of"] == "micrographs"


def test_what_counts_is_the_last_name_of_a_crystal_that_is_one(rock: Rock) -> None:
    rock.change(0, "shape", 0, shape="spherical")
    rock.change(0, "shape", 0, shape="rhombic")
    rock.change(0, "shape", 1, shape="spherical")
    rock.change(0, "delete", 1)
    undone = rock.change(0, "shape", 2, shape="amorphous")
    undo(rock.catalog, undone.change_id, "lab")
    evaluation = evaluate_corrections(rock.catalog)
    metrics = only(evaluation["classifiers"])
    assert (metrics["n"], metrics["accuracy"]) == (1, 1.0)
    assert evaluation["corrections"] == 4


def test_another_classifier_is_judged_by_the_same_names(
    rock: Rock, make_tile: MakeTile, make_crystal: MakeCrystal, commit: Commit
) -> None:
    rock.change(0, "shape", 0, 1, shape="rhombic")
    rock.change(1, "shape", 0, shape="rhombic")
    tile = replace(make_tile("a0", "A", 1200.0), classifier="own@ffffffffffff")
    commit(rock.catalog, (tile, crystals(make_crystal, "polyhedral")))
    evaluation = evaluate_corrections(rock.catalog)
    assert [(each["classifier"], each["n"]) for each in evaluation["classifiers"]] == [
        ("nsr@0123456789ab", 3),
        ("own@ffffffffffff", 2),
    ]
    assert [each["accuracy"] for each in evaluation["classifiers"]] == [1.0, 0.0]
    # What the segmenter found was scanned twice, but counts once.
    rock.change(0, "delete", 3)
    assert only(evaluate_corrections(rock.catalog)["segmenters"])["n"] == 4


def test_outlines_judge_the_segmenter_on_judged_tiles(rock: Rock) -> None:
    rock.change(0, "delete", 0)
    rock.change(0, "redraw", 1, masks=[box(10, 3, 5, 3)])  # IoU 0.5: another crystal
    rock.change(0, "redraw", 2, masks=[box(20, 3, 5, 5)])  # IoU 5/6: the same
    rock.change(0, "add", masks=[box(40, 30)], shape="spherical")
    rock.change(1, "shape", 0, 1, 2, 3, shape="rhombic")  # each crystal is confirmed
    rock.change(2, "shape", 0, shape="rhombic")  # says nothing of the others
    metrics = only(evaluate_corrections(rock.catalog)["segmenters"])
    assert (metrics["n_tiles"], metrics["n"]) == (2, 8)
    assert [metrics[name] for name in ("kept", "deleted", "redrawn", "added")] == [5, 1, 2, 1]
    assert metrics["precision"] == pytest.approx(6 / 8)
    assert metrics["recall"] == pytest.approx(6 / 8)
    assert metrics["mean_iou"] == pytest.approx((3 / 6 + 5 / 6) / 2)
    low, high = metrics["intervals"]["precision"]
    assert low < 6 / 8 < high
    assert metrics["intervals"]["of"] == "crystals"


def test_merged_and_split_crystals(rock: Rock) -> None:
    rock.change(0, "merge", 0, 1)
    rock.change(0, "split", 2, masks=[box(20, 3, 5, 4), box(20, 7, 5, 2)])
    metrics = only(evaluate_corrections(rock.catalog)["segmenters"])
    assert (metrics["deleted"], metrics["added"], metrics["kept"]) == (3, 3, 1)
    # Of the split crystal the larger half is still found; halves of the merged one are not.
    assert metrics["precision"] == pytest.approx(2 / 4)
    assert metrics["recall"] == pytest.approx(2 / 4)


def test_added_where_nothing_else_was_changed(rock: Rock) -> None:
    (outline,) = encode_rle([box(40, 30)], 48, 64)
    rock.write("add", 10, 0, shape="spherical", mask_rle=json.dumps(outline))
    metrics = only(evaluate_corrections(rock.catalog)["segmenters"])
    assert (metrics["precision"], metrics["recall"]) == (1.0, 0.8)
    assert metrics["mean_iou"] is None
    assert metrics["intervals"]["mean_iou"] is None
    assert metrics["intervals"]["recall"] == pytest.approx([0.8, 0.8])
    assert metrics["intervals"]["of"] == "micrographs"


def test_by_well(
    rock: Rock, make_tile: MakeTile, make_crystal: MakeCrystal, commit: Commit
) -> None:
    commit(rock.catalog, (make_tile("b", "B", 20.0), crystals(make_crystal)))
    rock.change(0, "shape", 0, shape="rhombic")
    assert evaluate_corrections(rock.catalog, ["A"])["corrections"] == 1
    assert evaluate_corrections(rock.catalog, ["B"])["corrections"] == 0


def test_a_server_of_the_catalogue_does_not_load_torch(catalog: Catalog) -> None:
    code = "import sys, mcn.catalog.learning.evaluation; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], timeout=DEADLINE_S, check=False)
    assert done.returncode == 0
