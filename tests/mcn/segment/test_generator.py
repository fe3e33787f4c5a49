from dataclasses import replace

import numpy as np

from mcn.mask import masks_from_labels
from mcn.segment import load_segmenter
from mcn.segment.evaluate import match
from mcn.synthetic.renderer import TileSettings, render_tile


def test_an_image_of_small_crystals_is_looked_at_more_closely():
    tile = render_tile(
        8, TileSettings(height=256, width=256, pixel_size_um=0.05, diameter_um=0.75, severity=0.6)
    )
    truth = masks_from_labels(tile.labels.astype(np.int32))
    segmenter = load_segmenter("compact")
    (closer,) = segmenter.segment([tile.image])
    segmenter.settings = replace(segmenter.settings, magnify_below=0.0)
    (once,) = segmenter.segment([tile.image])
    size = tile.image.shape
    assert len(match(truth, closer, size)) > 1.3 * len(match(truth, once, size))


def test_company_does_not_change_an_image_s_crystals():
    segmenter = load_segmenter("compact")
    tiles = [
        render_tile(seed, TileSettings(height=192, width=192, diameter_um=d)).image
        for seed, d in ((1, 0.7), (2, 3.0), (3, 0.8))
    ]
    together = segmenter.segment(tiles)
    for tile, found in zip(tiles, together, strict=True):
        (alone,) = segmenter.segment([tile])
        assert [(m.x, m.y, m.pixels.shape) for m in alone] == [
            (m.x, m.y, m.pixels.shape) for m in found
        ]
