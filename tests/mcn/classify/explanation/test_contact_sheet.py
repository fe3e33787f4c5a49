"""The sheet shows the right crystals, each beside its heat map."""

import io

import matplotlib.image
import numpy as np
import pyarrow as pa
import pytest

from mcn.analyzer import Segmented, classify_segmented, segment_micrographs
from mcn.classify.classifier import CropClassifier, load_classifier
from mcn.classify.explanation.contact_sheet import contact_sheet, most_and_least_confident
from mcn.classify.explanation.grad_cam import explain
from mcn.mask import masks_from_labels
from mcn.micrograph import Micrograph
from mcn.synthetic.renderer import random_settings, render_tile
from mcn.taxonomy import SHAPES

from ....fakes import FixedSegmenter, classified_table, crystal_row


@pytest.fixture(scope="module")
def classifier() -> CropClassifier:
    return load_classifier()


@pytest.fixture(scope="module")
def segmented() -> Segmented:
    tile = render_tile(5, random_settings(np.random.default_rng(5), 384, 512))
    micrograph = Micrograph(tile.image, 0.05, "manifest", "tile")
    masks = masks_from_labels(tile.labels[: micrograph.analysed.shape[0]])
    (micrograph_crystals,) = segment_micrographs(FixedSegmenter([masks]), [micrograph])
    return micrograph_crystals


@pytest.fixture(scope="module")
def crystals(classifier: CropClassifier, segmented: Segmented) -> pa.Table:
    (crystals,) = classify_segmented(classifier, [segmented])
    return crystals


def test_the_most_and_least_confident_crystals_are_selected() -> None:
    values = (0.5, 0.9, 0.3, 0.8, 0.99, 0.4, 0.7)
    rhombic = [crystal_row("rhombic", confidence=value) for value in values]
    spherical = [crystal_row("spherical", confidence=value) for value in (0.1, 1.0)]
    some = classified_table(rhombic + spherical)
    assert most_and_least_confident(some, "rhombic", 3) == ([4, 1, 3], [0, 5, 2])
    assert most_and_least_confident(some, "spherical", 3) == ([8], [7])
    assert most_and_least_confident(some, "amorphous", 3) == ([], [])
    assert most_and_least_confident(some.slice(0, 5), "rhombic", 3) == ([4, 1, 3], [0, 2])
    assert most_and_least_confident(some.slice(0, 1), "rhombic", 3) == ([0], [])


def test_each_crop_is_beside_its_heat_map(
    classifier: CropClassifier, segmented: Segmented, crystals: pa.Table
) -> None:
    axes = contact_sheet(classifier, crystals, segmented.crops, "tile").axes[0]
    pictures = [np.asarray(image.get_array()) for image in axes.images]
    labels = [text.get_text() for text in axes.texts if text.get_text()[-3:-2] == "."]
    chosen = [
        number
        for shape in SHAPES
        for part in most_and_least_confident(crystals, shape)
        for number in part
    ]
    assert len(chosen) > 12
    rows = crystals.take(chosen).to_pylist()
    assert labels == [f"{row['shape']} {row['confidence']:.2f}" for row in rows]
    shapes = [SHAPES.index(row["shape"]) for row in rows]
    maps = explain(classifier, segmented.crops[chosen], shapes)
    crops_shown, under, heat = pictures[::3], pictures[1::3], pictures[2::3]
    assert np.array_equal(crops_shown, segmented.crops[chosen])
    assert np.array_equal(under, segmented.crops[chosen])
    assert np.stack(heat) == pytest.approx(maps, abs=1e-6)


def test_a_picture_without_crystals_says_so(classifier: CropClassifier) -> None:
    figure = contact_sheet(
        classifier, classified_table([]), np.zeros((0, 64, 64), np.uint8), "empty.tif"
    )
    words = [text.get_text() for text in figure.axes[0].texts]
    assert [f"no {shape} crystal" for shape in SHAPES] == words[:4]
    file = io.BytesIO()
    figure.savefig(file, format="png")
    file.seek(0)
    assert min(matplotlib.image.imread(file).shape[:2]) > 300
