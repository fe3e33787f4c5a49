"""Images are analyzed one at a time or many at once."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mcn.analyzer import Analyzer
from mcn.crystals import Classified, classified_schema, crystal_masks
from mcn.micrograph import Micrograph
from mcn.morphology import measure
from mcn.taxonomy import FACET_OF_SHAPE, SHAPES

from ..fakes import BrightnessClassifier, FixedSegmenter, PatchSegmenter


def picture(
    *boxes: tuple[int, int, int, int], bar: int | None = None, size: float | None = 0.5
) -> Micrograph:
    pixels = np.full((60, 80), 20, np.uint8)
    for y, x, h, w in boxes:
        pixels[y : y + h, x : x + w] = 200
    if bar is not None:
        pixels[bar:] = 255
    return Micrograph(pixels, size, "manifest" if size else "unknown", "picture", bar)


TWO = ((5, 30, 10, 12), (30, 8, 8, 20))


def test_a_crystal_is_measured_classified_and_drawn_in_place() -> None:
    (crystals,) = Analyzer(PatchSegmenter(), BrightnessClassifier()).analyze([picture(*TWO)])
    assert crystals.schema == classified_schema(SHAPES)
    first, second = (SimpleNamespace(**row) for row in crystals.to_pylist())
    assert (first.bbox_x, first.bbox_y, first.bbox_w, first.bbox_h) == (30, 5, 12, 10)
    assert (second.bbox_x, second.bbox_y) == (8, 30)
    assert first.area_px == 120
    assert first.area_um2 == pytest.approx(30.0)
    assert first.shape in SHAPES
    assert first.facet == FACET_OF_SHAPE[first.shape]
    p = [getattr(first, f"p_{shape}") for shape in SHAPES]
    assert first.confidence == max(p) == p[SHAPES.index(first.shape)]
    assert json.loads(first.mask_rle)["size"] == [60, 80]
    masks = crystal_masks(crystals)
    assert (masks[0].x, masks[0].y, masks[0].pixels.shape) == (30, 5, (10, 12))
    for name, expected in measure(masks, 60, 80, 0.5).items():
        assert crystals[name].to_numpy() == pytest.approx(expected, rel=1e-6), name


def test_the_data_bar_is_not_a_crystal_and_clips_those_it_covers() -> None:
    analyzer = Analyzer(PatchSegmenter(), BrightnessClassifier())
    segmented, *_ = analyzer.segment([picture(*TWO, (45, 50, 10, 10), bar=50)])
    assert (segmented.height, segmented.width, segmented.analysed_px) == (60, 80, 50 * 80)
    assert segmented.covered_px == 120 + 160 + 50
    (crystals,) = analyzer.classify([segmented])
    cut = crystals.slice(2).to_pylist()[0]
    assert (cut["bbox_y"], cut["bbox_h"], cut["touches_edge"]) == (45, 5, True)
    assert json.loads(cut["mask_rle"])["size"] == [60, 80]
    assert crystal_masks(crystals)[2].y == 45


def test_overlapping_crystals_cover_each_pixel_once() -> None:
    micrograph = picture(*TWO)
    (masks,) = PatchSegmenter().segment([micrograph.pixels])
    analyzer = Analyzer(FixedSegmenter([2 * masks]), BrightnessClassifier())
    (segmented,) = analyzer.segment([micrograph])
    assert segmented.crystals.num_rows == 4
    assert segmented.covered_px == 120 + 160


def test_an_unknown_pixel_size_leaves_micrometres_null() -> None:
    (crystals,) = Analyzer(PatchSegmenter(), BrightnessClassifier()).analyze(
        [picture(*TWO, size=None)]
    )
    assert crystals["area_px"].to_pylist() == [120, 160]
    micrometres = [name for name in crystals.column_names if name.endswith(("_um", "_um2"))]
    assert len(micrometres) == 7
    assert all(crystals[name].null_count == 2 for name in micrometres)


def test_pictures_without_crystals_and_no_pictures_at_all() -> None:
    analyzer = Analyzer(PatchSegmenter(), BrightnessClassifier())
    no_crystals = classified_schema(SHAPES).empty_table()
    assert analyzer.analyze([picture(), picture()]) == [no_crystals, no_crystals]
    assert analyzer.analyze([]) == []


boxes = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 70), st.integers(1, 9), st.integers(1, 9)),
    max_size=6,
)


@given(st.lists(boxes, max_size=4))
@settings(max_examples=25, deadline=None)
def test_a_batch_equals_single_images(several: list[list[tuple[int, int, int, int]]]) -> None:
    classifier = BrightnessClassifier()
    analyzer = Analyzer(PatchSegmenter(), classifier)
    pictures = [picture(*arguments) for arguments in several]
    batch_tables = analyzer.analyze(pictures)
    assert classifier.calls == any(map(len, batch_tables))
    assert batch_tables == [analyzer.analyze([image])[0] for image in pictures]
    for crystals in batch_tables:
        corners = list(
            zip(*(crystals[name].to_pylist() for name in ("bbox_y", "bbox_x")), strict=True)
        )
        assert corners == sorted(corners)


@pytest.mark.parametrize("p", [np.zeros((2, 3), np.float32), np.full((2, 4), np.nan, np.float32)])
def test_a_classifier_without_valid_probabilities_is_an_error(
    p: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = BrightnessClassifier()
    monkeypatch.setattr(classifier, "classify", lambda crops: Classified(p, p.max(axis=1)))
    with pytest.raises(ValueError, match="did not give finite probabilities for 2 crops"):
        Analyzer(PatchSegmenter(), classifier).analyze([picture(*TWO)])
