from dataclasses import replace

import numpy as np
import torch

from mcn.mask import masks_from_labels
from mcn.segment import load_segmenter
from mcn.segment.evaluation.metrics import match
from mcn.segment.modeling.window_decoder import WindowDecoder
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


def test_fewer_prompts_find_the_same_crystals():
    tile = render_tile(11, TileSettings(height=384, width=448))
    segmenter = load_segmenter("compact", device="cpu")
    (fewer,) = segmenter.segment([tile.image])
    segmenter.settings = replace(segmenter.settings, sure_centre=0.0)
    (all_masks,) = segmenter.segment([tile.image])
    again = match(all_masks, fewer, tile.image.shape, 0.9)
    assert len(all_masks) > 20
    assert len(again) >= 0.97 * len(all_masks)
    assert len(fewer) <= len(all_masks) + 1


def test_uncertain_centres_on_a_mask_are_not_decoded(monkeypatch):
    tile = render_tile(11, TileSettings(height=384, width=448))
    segmenter = load_segmenter("compact", device="cpu")
    decode, counts = WindowDecoder.decode, []

    def counted(self, features, prompts, *rest):
        counts[-1] += len(prompts.windows)
        return decode(self, features, prompts, *rest)

    monkeypatch.setattr(WindowDecoder, "decode", counted)
    for sure_centre in (0.0, 0.3):
        segmenter.settings = replace(segmenter.settings, sure_centre=sure_centre)
        counts.append(0)
        segmenter.segment([tile.image])
    all_prompts, fewer = counts
    assert 0 < fewer < 0.97 * all_prompts


def test_in_steps_the_masks_are_the_same_and_others_have_a_turn():
    tile = render_tile(11, TileSettings(height=700, width=1400))
    small = render_tile(
        8, TileSettings(height=256, width=256, pixel_size_um=0.05, diameter_um=0.6, severity=0.6)
    )
    segmenter = load_segmenter("compact", device="cpu")
    segmenter.settings = replace(segmenter.settings, window=768)
    for image, least in ((tile.image, 5), (small.image, 2)):
        (masks,) = segmenter.segment([image])
        shares, steps = [], segmenter.segment_in_steps(image)
        while True:
            try:
                shares.append(next(steps))
            except StopIteration as end:
                result = end.value
                break
            assert not torch.is_inference_mode_enabled(), "other calls on this thread may train"
        assert len(shares) >= least
        assert shares == sorted(shares)
        assert 0 < shares[0] < shares[-1] <= 1
        assert len(result) == len(masks) > 10
        for mask, again in zip(masks, result, strict=True):
            assert (mask.x, mask.y) == (again.x, again.y)
            assert np.array_equal(mask.pixels, again.pixels)
