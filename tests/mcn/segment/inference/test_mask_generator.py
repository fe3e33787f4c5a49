from dataclasses import replace

import numpy as np

from mcn.mask import masks_from_labels
from mcn.segment import load_segmenter
from mcn.segment.evaluation.metrics import match
from mcn.synthetic.renderer import TileSettings, render_tile


def test_an_image_of_small_crystals_is_segmented_at_twice_the_size():
    tile = render_tile(
        8, TileSettings(height=256, width=256, pixel_size_um=0.05, diameter_um=0.6, severity=0.6)
    )
    truth = masks_from_labels(tile.labels.astype(np.int32))
    segmenter = load_segmenter("compact")
    (magnified,) = segmenter.segment([tile.image])
    segmenter.settings = replace(segmenter.settings, magnify_below=0.0)
    (plain,) = segmenter.segment([tile.image])
    size = tile.image.shape
    assert len(match(truth, magnified, size)) > 1.3 * len(match(truth, plain, size))
