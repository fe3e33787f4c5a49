"""The embedded segmenter on pictures from laboratories, including unusual ones."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mcn.mask import masks_from_labels
from mcn.segment import load_segmenter
from mcn.segment.evaluation.metrics import match, paint
from mcn.segment.segmenter import CompactSegmenter
from mcn.synthetic.renderer import TileSettings, render_tile


@pytest.fixture(scope="module")
def compact() -> CompactSegmenter:
    loaded = load_segmenter()
    assert isinstance(loaded, CompactSegmenter)
    return loaded


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (33, 47), (300, 300)])
def test_an_empty_picture_has_no_crystals(
    compact: CompactSegmenter, shape: tuple[int, int]
) -> None:
    assert compact.segment([np.full(shape, 77, np.uint8)]) == [[]]


@pytest.mark.parametrize("deviation", [2.0, 40.0, 200.0])
def test_noise_has_no_crystals(compact: CompactSegmenter, deviation: float) -> None:
    noise = np.random.default_rng(0).normal(128, deviation, (512, 512)).clip(0, 255)
    assert compact.segment([noise.astype(np.uint8)]) == [[]]


def test_most_crystals_of_a_new_tile_are_found(compact: CompactSegmenter) -> None:
    tile = render_tile(90210, TileSettings(height=512, width=512, shape_mix=(0.4, 0.3, 0.0, 0.3)))
    (predicted,) = compact.segment([tile.image])
    truth = masks_from_labels(tile.labels)
    hits = match(truth, predicted, (512, 512))
    assert 2 * len(hits) / (len(truth) + len(predicted)) > 0.7
    assert hits.mean() > 0.8


def test_pictures_do_not_depend_on_their_batch(compact: CompactSegmenter) -> None:
    tiles = [render_tile(seed, TileSettings(height=160, width=192)).image for seed in (1, 2)]
    batch_masks = compact.segment([*tiles, np.zeros((40, 40), np.uint8)])
    single_masks = [compact.segment([tile])[0] for tile in tiles]
    for a, b in zip(batch_masks[:2], single_masks, strict=True):
        assert abs(len(a) - len(b)) <= 1
        ious = match(a, b, (160, 192))
        assert len(ious) >= 0.95 * len(b)


def test_a_seam_neither_splits_nor_duplicates_crystals(compact: CompactSegmenter) -> None:
    """A strip longer than a window has the same crystals as its halves, without seams."""
    tile = render_tile(31, TileSettings(height=256, width=1400)).image
    strip = np.concatenate([tile, tile[:, ::-1]], axis=1)
    (predicted,) = compact.segment([strip])
    (mirrored,) = compact.segment([np.ascontiguousarray(strip[:, ::-1])])
    assert abs(len(predicted) - len(mirrored)) <= 0.03 * len(predicted)
    middle = strip.shape[1] // 2
    across = [m for m in predicted if m.x < middle < m.x + m.pixels.shape[1]]
    assert across
    assert same_pixels(predicted, strip.shape) == sum(int(m.pixels.sum()) for m in predicted)


def same_pixels(masks: list, shape: tuple[int, ...]) -> int:
    canvas: NDArray[np.int64] = paint(masks, (shape[0], shape[1]))
    return int(np.count_nonzero(canvas))


def test_smaller_windows_find_the_same_crystals(compact: CompactSegmenter) -> None:
    """Smaller windows are a scan's fallback if a large tile does not fit into memory."""
    tile = render_tile(4, TileSettings(height=900, width=1100, diameter_um=2.0)).image
    smaller = compact.in_smaller_windows()
    assert smaller is not None
    assert smaller.name == compact.name
    smallest = smaller.in_smaller_windows()
    assert smallest is not None
    assert smallest.in_smaller_windows() is None
    (in_one_piece,), (parts,) = compact.segment([tile]), smallest.segment([tile])
    assert len(in_one_piece) > 50
    assert abs(len(parts) - len(in_one_piece)) <= 0.02 * len(in_one_piece)
    assert len(match(in_one_piece, parts, (900, 1100))) >= 0.98 * len(in_one_piece)
