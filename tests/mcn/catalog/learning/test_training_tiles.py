"""Corrected tiles are written as segmenters learn from them; both trainings read an export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mcn.analyzer import Analyzer
from mcn.catalog.correcting.changes import Change, correct
from mcn.catalog.learning.training_tiles import COMPLETE, PARTLY, export_training_tiles
from mcn.catalog.query import query
from mcn.catalog.schema import Tile, crystal_table, tile_id, tile_table
from mcn.catalog.selection import Selection
from mcn.catalog.storage import CatalogError
from mcn.catalog.store import Catalog
from mcn.cli.main import app
from mcn.mask import Mask
from mcn.micrograph import read_micrograph
from mcn.segment.dataset import list_pairs
from mcn.segment.training.batches import read_folders
from mcn.taxonomy import SHAPES

from ....fakes import BrightnessClassifier, PatchSegmenter

HEIGHT, WIDTH = 96, 128


@pytest.fixture
def drawn(tmp_path: Path) -> Catalog:
    """Seven tiles of well A, 10 m apart, with four crystals each; nobody has corrected any."""
    analyzer = Analyzer(PatchSegmenter(), BrightnessClassifier())
    catalog = Catalog.create(tmp_path / "catalog")
    tiles, crystals = [], []
    for number in range(7):
        path = tmp_path / "core" / f"tile{number}.png"
        path.parent.mkdir(exist_ok=True)
        rng = np.random.default_rng(number)
        picture = rng.integers(10, 40, (HEIGHT, WIDTH), dtype=np.uint8)
        for k in range(4):
            picture[20:50, 4 + 31 * k : 28 + 31 * k] = 150 + 25 * k
        Image.fromarray(picture).save(path)
        (table,) = analyzer.analyze([read_micrograph(path, pixel_size_um=0.05)])
        crystals.append(table)
        tiles.append(
            Tile(
                tile_id=tile_id(str(path)),
                uri=str(path),
                well="A",
                depth_m=1200.0 + 10 * number,
                segmenter=analyzer.segmenter.name,
                classifier=analyzer.classifier.name,
                scan_id="one",
                width=WIDTH,
                height=HEIGHT,
                pixel_size_um=0.05,
                pixel_size_source="manifest",
                n_crystals=table.num_rows,
                crystal_area_fraction=0.1,
            )
        )
    rows = tile_table(tiles)
    catalog.commit(crystal_table(rows, crystals), rows)
    return catalog


def change(catalog: Catalog, tile: int, operation: Any, *numbers: int, **facts: Any) -> None:
    depth = 1200.0 + 10 * tile
    rows = query(catalog, ["A"], (depth, depth)).to_pylist()
    rows.sort(key=lambda row: row["bbox_x"])
    ids = [rows[number]["crystal_id"] for number in numbers]
    correct(catalog, Change(operation, rows[0]["tile_id"], "A", ids, **facts), "lab")


def labels_of(folder: Path, name: str) -> Any:
    (pair,) = (pair for pair in list_pairs(folder) if pair.name == name)
    return pair.read()


def test_judged_tiles_are_complete_and_others_have_what_was_named(
    drawn: Catalog, tmp_path: Path
) -> None:
    change(drawn, 0, "delete", 0)
    change(drawn, 0, "redraw", 1, masks=[Mask(60, 60, np.ones((10, 10), dtype=bool))])
    change(drawn, 0, "add", masks=[Mask(2, 80, np.ones((6, 8), dtype=bool))], shape="spherical")
    change(drawn, 1, "shape", 2, shape="rhombic")
    out = tmp_path / "own"
    written = export_training_tiles(drawn, out)
    assert (written.complete, written.incomplete, written.crystals) == (1, 1, 5)
    pixels, labels = labels_of(out, f"{COMPLETE}tile0")
    assert np.array_equal(pixels, np.asarray(Image.open(tmp_path / "core" / "tile0.png")))
    assert len(np.unique(labels)) == 5
    assert (labels[60:70, 60:70] > 0).all()
    assert not labels[20:50, 4:60].any()  # the deleted one, and where the redrawn one was
    assert (labels[80:86, 2:10] > 0).all()
    _, labels = labels_of(out, f"{PARTLY}tile1")
    assert {*np.unique(labels)} == {0, 1}
    assert labels[35, 80] == 1
    (train,), (held_out,) = read_folders([out], 16, [f"{PARTLY}*"])
    assert [image.complete for image in train] == [False]
    assert [pair.name for pair in held_out] == [f"{COMPLETE}tile0"]


def test_bad_folders_tiles_and_selections(drawn: Catalog, tmp_path: Path) -> None:
    nothing = export_training_tiles(drawn, tmp_path / "none")
    assert (nothing.complete, nothing.incomplete) == (0, 0)
    assert not (tmp_path / "none").exists()
    change(drawn, 0, "delete", 0)
    change(drawn, 1, "delete", 0)
    elsewhere = Selection(["A"], (1205.0, None))
    assert export_training_tiles(drawn, tmp_path / "deep", elsewhere).complete == 1
    (tmp_path / "core" / "tile0.png").unlink()
    written = export_training_tiles(drawn, tmp_path / "own")
    assert written.complete == 1
    assert "tile0.png: cannot be read again" in written.skipped[0]
    with pytest.raises(CatalogError, match="already exists; name another folder"):
        export_training_tiles(drawn, tmp_path / "own")
    (tmp_path / "core" / "tile1.png").write_bytes(b"")
    with pytest.raises(CatalogError, match=r"no tile of .* could be read again"):
        export_training_tiles(drawn, tmp_path / "gone")


@pytest.mark.long
def test_both_trainings_read_the_export(drawn: Catalog, tmp_path: Path) -> None:
    """The steps of a user, with a few steps of each training."""
    for tile in range(7):
        change(drawn, tile, "shape", *range(4 if tile < 4 else 3), shape=SHAPES[tile % 4])
    change(drawn, 3, "delete", 3)
    own = tmp_path / "own"

    def run(*words: object) -> Any:
        done = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done

    done = run("export", drawn.uri, own, "--corrections")
    assert "24 named crystals" in done.stderr
    assert f"--incomplete '{PARTLY}*'" in done.stderr
    weights = tmp_path / "own.safetensors"
    run("train", "classifier", own, "--start", "nsr", "--epochs", 1, "--out", weights)
    done = run(
        *("evaluate", "classifier", drawn.uri, "--corrections", "--classifier", weights, "--json")
    )
    assert '"n": 24' in done.stdout
    masks = tmp_path / "masks.safetensors"
    run(
        *("train", "segmenter", own, "--start", "compact", "--steps", 1, "--out", masks),
        *("--incomplete", f"{PARTLY}*"),
    )
    done = run(
        *("evaluate", "segmenter", drawn.uri, "--corrections", "--segmenter", masks, "--json")
    )
    assert '"n_images": 4' in done.stdout


def test_without_corrections_commands_say_what_to_do(drawn: Catalog, tmp_path: Path) -> None:
    def refusal(*words: object) -> str:
        done = CliRunner().invoke(app, [*map(str, words)])
        assert done.exit_code == 1
        return str(done.exception)

    for words in (
        ("export", drawn.uri, tmp_path / "own", "--corrections"),
        ("evaluate", "classifier", drawn.uri, "--corrections"),
        ("evaluate", "segmenter", drawn.uri, "--corrections"),
    ):
        assert "nobody has corrected a crystal; correct some on the page" in refusal(*words)
    change(drawn, 0, "delete", 0)
    assert "nobody has named" in refusal("evaluate", "classifier", drawn.uri, "--corrections")
    words_of_b = ("evaluate", "segmenter", drawn.uri, "--corrections", "--well", "B")
    assert "'B'" in refusal(*words_of_b)


def test_a_named_crystal_does_not_judge_its_tile(drawn: Catalog) -> None:
    change(drawn, 1, "shape", 0, shape="rhombic")
    words = ["evaluate", "segmenter", drawn.uri, "--corrections"]
    done = CliRunner().invoke(app, words)
    assert "no tile counts as judged; correct an outline" in str(done.exception)


def test_evaluation_on_the_command_line(drawn: Catalog) -> None:
    change(drawn, 0, "shape", 0, 1, shape="rhombic")
    change(drawn, 0, "delete", 3)
    runner = CliRunner()
    words = ["evaluate", "classifier", drawn.uri, "--corrections"]
    metrics = json.loads(runner.invoke(app, [*words, "--json"]).stdout)
    assert metrics["n"] == metrics["classifiers"][0]["n"] == 2
    assert {"accuracy", "average_precision", "roc_auc"} <= metrics.keys()
    text = runner.invoke(app, words).stdout
    assert f"on {drawn.uri}" in text
    assert "least sure first" in text
    words = ["evaluate", "segmenter", drawn.uri, "--corrections"]
    metrics = json.loads(runner.invoke(app, [*words, "--json"]).stdout)
    assert (metrics["deleted"], metrics["kept"]) == (1, 3)
    assert "precision" in runner.invoke(app, words).stdout
    refused = runner.invoke(app, ["evaluate", "classifier", "folder", "--well", "A"])
    assert refused.exit_code == 2
