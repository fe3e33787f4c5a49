"""Crystals are exported for a person to label, and read back as training data, crop for crop."""

import csv
from pathlib import Path

import numpy as np
import pytest

from mcn.analyzer import segment_micrographs
from mcn.catalog.correcting.label_sheet import export_labels
from mcn.catalog.schema import Tile, crystal_table, tile_id, tile_table
from mcn.catalog.storage import CatalogError
from mcn.catalog.store import Catalog
from mcn.classify import CropClassifier, load_classifier
from mcn.classify.data.readers import read_examples
from mcn.classify.training.train import train_classifier
from mcn.io.objects import filesystem_of
from mcn.mask import masks_from_labels
from mcn.micrograph import read_micrograph
from mcn.sources.listing import etag_of
from mcn.synthetic.core import CoreSettings, render_core
from mcn.taxonomy import SHAPES

from ....fakes import FixedSegmenter


@pytest.fixture(scope="module")
def nsr() -> CropClassifier:
    return load_classifier()


@pytest.fixture
def scanned(tmp_path: Path, nsr: CropClassifier):
    """A rendered core of three tiles, its catalogue, and the classified crops."""
    import tifffile

    from mcn.analyzer import classify_segmented

    root = tmp_path / "core"
    render_core(root, wells=1, tiles=3, seed=4, settings=CoreSettings(height=256, width=320))
    paths = sorted(path for path in root.rglob("*.tif") if "truth" not in path.parts)
    labels = [tifffile.imread(root / "truth" / "masks" / path.relative_to(root)) for path in paths]
    micrographs = [read_micrograph(path) for path in paths]
    masks = [
        masks_from_labels(truth[: len(micrograph.analysed)])
        for truth, micrograph in zip(labels, micrographs, strict=True)
    ]
    segmented = segment_micrographs(FixedSegmenter(masks), micrographs)
    crystals = classify_segmented(nsr, segmented)
    catalog = Catalog.create(tmp_path / "catalog")
    rows = []
    for number, (path, tile_crystals, part) in enumerate(
        zip(paths, crystals, segmented, strict=True)
    ):
        fs, inside = filesystem_of(str(path))
        tile = Tile(
            tile_id=tile_id(str(path)),
            uri=str(path),
            etag=etag_of(fs.info(inside)),
            well="W",
            depth_m=100.0 + number,
            width=part.width,
            height=part.height,
            pixel_size_um=part.pixel_size_um,
            pixel_size_source=part.pixel_size_source,
            crystal_area_fraction=0.5,
            n_crystals=len(tile_crystals),
            segmenter=FixedSegmenter.name,
            classifier=nsr.name,
            scan_id="one",
        )
        rows.append(tile)
    tiles = tile_table(rows)
    catalog.commit(crystal_table(tiles, crystals, catalog.depth_bin_m), tiles)
    return catalog, paths, np.concatenate([part.crops for part in segmented])


def rows_of(sheet: Path) -> list[dict[str, str]]:
    with sheet.open(newline="", encoding="utf-8-sig") as lines:
        return list(csv.DictReader(lines))


def write_rows(sheet: Path, rows: list[dict[str, str]]) -> None:
    with sheet.open("w", newline="", encoding="utf-8-sig") as lines:
        writer = csv.DictWriter(lines, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def test_corrected_labels_are_read_as_training_data(scanned, tmp_path: Path) -> None:
    catalog, paths, crops = scanned
    exported = export_labels(catalog, tmp_path / "out", limit=1000)
    rows = rows_of(exported.sheet)
    assert exported.crystals == len(rows) == len(crops)
    assert exported.skipped == ()
    confidence = [float(row["confidence"]) for row in rows]
    assert confidence == sorted(confidence)
    for row, shape in zip(rows, SHAPES, strict=False):
        row["shape"] = shape.upper()
    rows[4]["shape"] = "?"
    write_rows(exported.sheet, rows)

    examples = read_examples(tmp_path / "out")
    assert len(examples) == len(rows) - 1
    assert examples.classes[:4].tolist() == [0, 1, 2, 3]
    assert len(np.unique(examples.groups)) == len(paths)
    original_crops = {crop.tobytes() for crop in crops}
    assert {crop.tobytes() for crop in examples.crops} <= original_crops


def test_a_limit_selects_the_least_certain_crystals(scanned, tmp_path: Path) -> None:
    catalog, _, _ = scanned
    all_rows = rows_of(export_labels(catalog, tmp_path / "all").sheet)
    few = rows_of(export_labels(catalog, tmp_path / "few", limit=7).sheet)
    assert [row["crystal_id"] for row in few] == [row["crystal_id"] for row in all_rows[:7]]
    assert len(list((tmp_path / "few" / "crops").iterdir())) == 7
    deep = rows_of(export_labels(catalog, tmp_path / "deep", depth=(102.0, None)).sheet)
    assert {row["depth_m"] for row in deep} == {"102.0"}


def test_corrections_are_never_overwritten(scanned, tmp_path: Path) -> None:
    catalog, _, _ = scanned
    exported = export_labels(catalog, tmp_path / "out", limit=3)
    before = exported.sheet.read_bytes()
    with pytest.raises(CatalogError, match=r"labels\.csv: already exists"):
        export_labels(catalog, tmp_path / "out")
    assert exported.sheet.read_bytes() == before


def test_missing_and_changed_tiles_are_skipped_and_named(scanned, tmp_path: Path) -> None:
    catalog, paths, _ = scanned
    paths[0].unlink()
    paths[1].write_bytes(paths[2].read_bytes())
    exported = export_labels(catalog, tmp_path / "out")
    assert {row["uri"] for row in rows_of(exported.sheet)} == {str(paths[2])}
    missing, changed = sorted(exported.skipped, key=lambda reason: "has changed" in reason)
    assert str(paths[0]) in missing
    assert "cannot be read again" in missing
    assert str(paths[1]) in changed
    assert "has changed since it was scanned" in changed
    paths[2].unlink()
    with pytest.raises(CatalogError, match=r"no tile of .* could be read again"):
        export_labels(catalog, tmp_path / "none")
    assert not (tmp_path / "none" / "labels.csv").exists()


def test_a_selection_without_crystals_is_an_error(scanned, tmp_path: Path) -> None:
    catalog, _, _ = scanned
    with pytest.raises(CatalogError, match="has no crystals to label"):
        export_labels(catalog, tmp_path / "out", depth=(5000.0, None))


def test_a_classifier_learns_from_a_corrected_sheet(scanned, tmp_path: Path) -> None:
    """The steps of a user; a tile is one micrograph, so a split needs three."""
    from mcn.classify.modeling.network import NetworkSettings
    from mcn.classify.training.trainer import ClassifierTrainSettings

    catalog, _, _ = scanned
    exported = export_labels(catalog, tmp_path / "out")
    rows = rows_of(exported.sheet)
    for number, row in enumerate(rows):
        row["shape"] = SHAPES[number % 4]
    write_rows(exported.sheet, rows)
    small = NetworkSettings(stem=4, widths=(8, 8, 8), reduced=(4, 4, 4))
    settings = ClassifierTrainSettings(epochs=1, batch=8, held_out=0.34, network=small)
    report = train_classifier(tmp_path / "out", tmp_path / "own.safetensors", settings)
    assert load_classifier(str(report.path)).name == report.name
