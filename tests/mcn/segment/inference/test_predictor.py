from functools import cache

import numpy as np
import pytest

from mcn.mask import masks_from_labels
from mcn.segment import load_segmenter
from mcn.segment.evaluation.metrics import paint
from mcn.synthetic.renderer import RenderedTile, TileSettings, render_tile


@cache
def tile() -> RenderedTile:
    return render_tile(3, TileSettings(height=384, width=512, diameter_um=2.4, severity=0.5))


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter("compact")


def largest_crystals(count: int):
    """The largest crystals of the tile: label, mask."""
    masks = masks_from_labels(tile().labels.astype(np.int32))
    order = sorted(range(len(masks)), key=lambda i: -np.count_nonzero(masks[i].pixels))
    return [(i + 1, masks[i]) for i in order[:count]]


def iou(mask, label: int) -> float:
    predicted = paint([mask], tile().image.shape) > 0
    true = tile().labels == label
    return float((predicted & true).sum() / (predicted | true).sum())


def test_a_box_gives_the_crystal_in_it(segmenter):
    crystals = largest_crystals(8)
    boxes = [(m.x, m.y, m.x + m.pixels.shape[1], m.y + m.pixels.shape[0]) for _, m in crystals]
    masks = segmenter.predict(tile().image, boxes=boxes)
    overlaps = [iou(mask, label) for mask, (label, _) in zip(masks, crystals, strict=True)]
    assert np.median(overlaps) > 0.8
    assert min(overlaps) > 0.5


def test_a_click_gives_the_crystal_under_it(segmenter):
    crystals = largest_crystals(8)
    points = []
    for _, mask in crystals:
        rows, columns = np.nonzero(mask.pixels)
        middle = np.hypot(rows - rows.mean(), columns - columns.mean()).argmin()
        points.append((mask.x + columns[middle] + 0.5, mask.y + rows[middle] + 0.5))
    masks = segmenter.predict(tile().image, points=points)
    overlaps = [iou(mask, label) for mask, (label, _) in zip(masks, crystals, strict=True)]
    assert np.median(overlaps) > 0.75
    for mask, (x, y) in zip(masks, points, strict=True):
        assert paint([mask], tile().image.shape)[int(y), int(x)]


def test_the_mask_does_not_depend_on_distant_pixels(segmenter):
    (_, crystal), *_ = largest_crystals(1)
    height, width = crystal.pixels.shape
    box = np.array([crystal.x, crystal.y, crystal.x + width, crystal.y + height])
    large = np.tile(tile().image, (5, 5))
    offset = np.array([2 * 512, 2 * 384])
    (near,) = segmenter.predict(np.tile(tile().image, (3, 3)), boxes=[box + np.tile([512, 384], 2)])
    (far,) = segmenter.predict(large, boxes=[box + np.tile(offset, 2)])
    assert (far.x - 512, far.y - 384) == (near.x, near.y)
    assert np.array_equal(far.pixels, near.pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (40, 33)])
def test_any_image_gives_a_mask(segmenter, shape):
    (mask,) = segmenter.predict(np.full(shape, 7, np.uint8), points=[(0.5, 0.5)])
    assert mask.y + mask.pixels.shape[0] <= shape[0]
    assert mask.x + mask.pixels.shape[1] <= shape[1]


def test_a_click_off_the_crystal_changes_the_mask(segmenter):
    (_, crystal), *_ = largest_crystals(1)
    rows, columns = np.nonzero(crystal.pixels)
    on = (crystal.x + columns.mean(), crystal.y + rows.mean())
    off = (crystal.x + crystal.pixels.shape[1] + 12.0, crystal.y + rows.mean())
    (mask,) = segmenter.predict(tile().image, points=[(on, off)], labels=[(1, 0)])
    painted = paint([mask], tile().image.shape)
    assert painted[int(on[1]), int(on[0])]
    assert not painted[int(off[1]), int(off[0])]
