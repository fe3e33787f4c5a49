"""Tests of `mcn.plots`, by the colours of the pictures."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.colors import to_rgb

from mcn.crystals import segmented_crystals
from mcn.mask import masks_from_labels
from mcn.plots import SHAPE_COLOURS, overlay_figure
from mcn.taxonomy import SHAPES

from ..fakes import classified_table, crystal_row
from ..figures import near, render, texts


def crystals_of(labels: np.ndarray, shapes: list[str]) -> pa.Table:
    masks = masks_from_labels(labels)
    rles = segmented_crystals(masks, {}, *labels.shape)["mask_rle"].to_pylist()
    return classified_table(
        [crystal_row(shape, mask_rle=rle) for shape, rle in zip(shapes, rles, strict=True)]
    )


def tinted(picture: np.ndarray, shape: str) -> np.ndarray:
    """Pixels with a tint nearest to the shape's colour, even if the line is thin."""
    tint = picture - picture.min(axis=-1, keepdims=True)
    colours = np.array([to_rgb(SHAPE_COLOURS[name]) for name in SHAPES])
    colours -= colours.min(axis=-1, keepdims=True)
    colours /= np.linalg.norm(colours, axis=-1, keepdims=True)
    nearest = (tint @ colours.T).argmax(axis=-1)
    return (tint.max(axis=-1) > 0.15) & (nearest == SHAPES.index(shape))


def test_outlines_lie_on_the_crystals_in_the_colour_of_their_shape():
    labels = np.zeros((600, 800), dtype=np.uint16)
    for number, (x, y) in enumerate([(100, 100), (500, 100), (100, 350), (500, 350)], start=1):
        labels[y : y + 150, x : x + 200] = number
    grey = np.full(labels.shape, 90, dtype=np.uint8)
    figure = overlay_figure(grey, crystals_of(labels, list(SHAPES)), 0.05, "A, 1200 m")
    picture = render(figure)
    assert picture.shape[1] == 800
    body = picture[-600:]
    for shape, (x, y) in zip(SHAPES, [(100, 100), (500, 100), (100, 350), (500, 350)], strict=True):
        rows, columns = np.nonzero(tinted(body, shape))
        assert rows.size > 500
        assert abs(rows.min() - y) <= 3
        assert abs(rows.max() - (y + 150)) <= 3
        assert abs(columns.min() - x) <= 3
        assert abs(columns.max() - (x + 200)) <= 3
    labelled = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labelled == [f"{shape} (1)" for shape in SHAPES]


def test_both_outlines_of_touching_crystals_are_visible():
    labels = np.ones((400, 400), dtype=np.uint16)
    labels[:, 200:] = 2
    grey = np.zeros(labels.shape, dtype=np.uint8)
    picture = render(overlay_figure(grey, crystals_of(labels, ["rhombic", "spherical"]), 1.0))
    middle = picture[-300:-100, 190:210]
    assert tinted(middle, "rhombic").any()
    assert tinted(middle, "spherical").any()


@pytest.mark.parametrize(
    ("pixel_size_um", "label", "long"),
    [(0.05, "5 µm", 100), (0.002, "200 nm", 100), (None, "100 px", 100), (3.0, "200 µm", 67)],
)
def test_the_scale_bar_has_its_stated_length(pixel_size_um, label, long):
    grey = np.full((400, 600), 90, dtype=np.uint8)
    figure = overlay_figure(grey, classified_table([]), pixel_size_um)
    assert label in texts(figure)
    white = near(render(figure)[-400:], "white")
    assert abs(white[300:].sum(axis=1).max() - long) <= 3


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (50, 2000), (5000, 400)])
def test_pictures_of_any_size_are_drawn(size):
    picture = render(overlay_figure(np.zeros(size, dtype=np.uint8), classified_table([]), 0.1))
    assert picture.size
