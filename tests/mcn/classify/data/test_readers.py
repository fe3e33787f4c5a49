"""Labelled crystals are read unchanged, or the invalid row is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcn.classify.classifier import load_classifier
from mcn.classify.data.dataset import ExamplesError
from mcn.classify.data.readers import read_examples
from mcn.classify.evaluation.evaluate import evaluate_classifier
from mcn.crops import cut_crops
from mcn.mask import masks_from_labels
from mcn.taxonomy import SHAPES, Taxonomy

Draw = Callable[..., Path]


def test_class_folders_give_their_crops_and_shapes(draw_folders: Draw) -> None:
    root = draw_folders(3)
    (root / ".cache").mkdir()
    (root / "rhombic" / "notes.txt").write_text("not a picture")
    examples = read_examples(root)
    assert len(examples) == 12
    assert np.bincount(examples.classes).tolist() == [3, 3, 3, 3]
    assert len(np.unique(examples.groups)) == 12
    file = root / SHAPES[examples.classes[0]] / "000.png"
    assert np.array_equal(examples.crops[0], np.asarray(Image.open(file)))


def test_crops_of_other_sizes_are_resized_like_crystals(draw_folders: Draw) -> None:
    root = draw_folders(1, size=150)
    pixels = np.asarray(Image.open(root / "amorphous" / "000.png"))
    (expected,) = cut_crops(pixels, masks_from_labels((pixels > 0).astype(np.uint8)))
    assert np.array_equal(read_examples(root).crops[0], expected)


def test_a_csv_names_files_shapes_and_micrographs(draw_folders: Draw) -> None:
    root = draw_folders(2)
    rows = ["file,shape,tile_id"]
    rows += [f"{shape}/{n:03d}.png,{shape},tile{n}" for shape in SHAPES for n in range(2)]
    (root / "labels.csv").write_text("\n".join(rows))
    examples = read_examples(root)
    assert examples.classes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert examples.groups.tolist() == [0, 1] * 4
    assert np.array_equal(read_examples(root / "labels.csv").crops, examples.crops)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("file,shape\nrhombic/000.png,cubic", "row 1: unknown shape 'cubic'"),
        ("file,shape\nrhombic/000.png,rhombic\ngone.png,rhombic", "row 2: .*gone.png does not"),
        ("file,shape\nrhombic/000.png,?", "has no labelled crystals"),
        ("file,shape\na.png,rhombic\na.png,rhombic", "row 1: .*a.png does not exist"),
        ("file,shape\n" + 2 * "rhombic/000.png,rhombic\n", "row 2: .* before, by .* row 1; keep"),
        ("file,shape\nlabels.csv,rhombic", "row 1: .* is not a readable image"),
        ("file,shape\nrhombic,rhombic", "row 1: .* is not a readable image"),
        ("file,shape\nhuge.png,rhombic", "row 1: .* is not a readable image .*5000"),
        ("file,shape\nblack.png,rhombic", "row 1: .* is all black"),
        ("file,shape", "has no labelled crystals"),
        ("file,form\nrhombic/000.png,rhombic", "its columns are file, form"),
        ("", "its columns are none"),
    ],
)
def test_invalid_rows_are_named(draw_folders: Draw, rows: str, reason: str) -> None:
    root = draw_folders(1)
    Image.fromarray(np.zeros((5000, 5000), np.uint8)).save(root / "huge.png")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(root / "black.png")
    (root / "labels.csv").write_text(rows)
    with pytest.raises(ExamplesError, match=reason):
        read_examples(root)


def test_a_sheet_saved_by_a_spreadsheet_is_read(draw_folders: Draw) -> None:
    root = draw_folders(1)
    rows = ["file; shape ;note", "", "rhombic/000.png;Rounded;was 0,5", "amorphous/000.png;skip"]
    rows += ["spherical/000.png; ;", "polyhedral/000.png;POLYHEDRAL"]
    (root / "labels.csv").write_text("\r\n".join(rows), encoding="utf-8-sig")
    assert read_examples(root).classes.tolist() == [3, 1]


def test_pictures_of_16_bits_are_read(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64), np.uint16)
    pixels[8:56, 8:56] = np.linspace(9000, 40000, 48, dtype=np.uint16)
    (tmp_path / "rhombic").mkdir()
    Image.fromarray(pixels).save(tmp_path / "rhombic" / "deep.tif")
    (crop,) = read_examples(tmp_path).crops
    assert ((crop > 0) == (pixels > 0)).all()
    assert crop.max() == 255


def test_a_custom_class_list_names_the_folders(draw_folders: Draw, core: Path) -> None:
    coins = Taxonomy({"round": "smooth", "square": "edged"}, {"disc": "round"})
    root = draw_folders(1, shapes=("spherical", "rhombic"))
    (root / "spherical").rename(root / "Disc")
    (root / "rhombic").rename(root / "square")
    examples = read_examples(root, taxonomy=coins)
    assert examples.taxonomy == coins
    assert examples.classes.tolist() == [0, 1]
    with pytest.raises(
        ExamplesError, match="rendered crystals have calcite's shapes, not round, square"
    ):
        read_examples(core, taxonomy=coins)


def test_invalid_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ExamplesError, match="gone: no such folder"):
        read_examples(tmp_path / "gone")
    with pytest.raises(ExamplesError, match="has no class folders"):
        read_examples(tmp_path)
    (tmp_path / "rhombic").mkdir()
    with pytest.raises(ExamplesError, match="has no labelled crystals"):
        read_examples(tmp_path)
    (tmp_path / "cubic").mkdir()
    Image.fromarray(np.ones((9, 9), np.uint8)).save(tmp_path / "cubic" / "a.png")
    with pytest.raises(ExamplesError, match="cubic: unknown shape 'cubic'"):
        read_examples(tmp_path)


def test_a_core_gives_its_crystals_tile_by_tile(core: Path) -> None:
    import pyarrow.parquet as pq

    truth = pq.read_table(core / "truth" / "crystals.parquet")
    examples = read_examples(core)
    assert len(examples) == len(truth)
    assert np.bincount(examples.groups).tolist() == sorted_counts(truth["tile"].to_pylist())
    shapes = dict(zip(keys(truth), truth["shape"].to_pylist(), strict=True))
    in_order = [shapes[key] for key in sorted(shapes)]
    assert [SHAPES[place] for place in examples.classes] == in_order
    assert not examples.perturbed.any()


def test_perturbed_copies_share_group_and_shape(core: Path) -> None:
    plain, copied = read_examples(core), read_examples(core, copies=2, seed=1)
    assert len(copied) == 3 * len(plain)
    assert np.array_equal(copied.take(~copied.perturbed).crops, plain.crops)
    again = read_examples(core, copies=2, seed=1)
    assert np.array_equal(copied.crops, again.crops)
    for group in np.unique(plain.groups):
        group_copies = copied.take(copied.groups == group)
        true = plain.classes[plain.groups == group]
        assert np.array_equal(group_copies.classes, np.tile(true, 3))


def test_a_missing_mask_of_a_core_is_named(core: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(core, broken)
    mask = next((broken / "truth" / "masks").rglob("*.tif"))
    mask.unlink()
    with pytest.raises(ExamplesError, match=mask.name):
        read_examples(broken)


def test_evaluation_of_a_core_separates_recognisable_crystals(core: Path) -> None:
    metrics = evaluate_classifier(core, load_classifier(), copies=1)
    examples = read_examples(core)
    assert metrics["n"] == metrics["spoilt_masks"]["n"] == len(examples)
    assert metrics["classifier"].startswith("nsr@")
    assert metrics["recognisable"]["n"] == int((examples.visible >= 0.5).sum())


def test_evaluation_omits_metrics_of_a_missing_shape(draw_folders: Draw) -> None:
    metrics = evaluate_classifier(draw_folders(2, shapes=SHAPES[:3]), load_classifier())
    assert metrics["n"] == 6
    assert metrics["roc_auc"]["spherical"] is None
    assert metrics["average_precision"]["rhombic"] is not None
    assert "recognisable" not in metrics


def keys(truth: object) -> list[tuple[str, int]]:
    return list(zip(truth["tile"].to_pylist(), truth["label"].to_pylist(), strict=True))


def sorted_counts(tiles: list[str]) -> list[int]:
    return [tiles.count(tile) for tile in sorted(set(tiles))]
