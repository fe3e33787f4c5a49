"""Perturbed masks are still usable masks of the same crystal."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mcn.classify.data.perturb import perturb_mask
from mcn.mask import Mask, masks_from_labels


@settings(max_examples=80)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_a_perturbed_mask_is_one_tight_piece_inside_the_image(
    h: int, w: int, at_edge: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = Mask(0 if at_edge else 15, 0 if at_edge else 10, np.ones((h, w), bool))
    height, width = mask.y + h + (0 if at_edge else 12), mask.x + w + (0 if at_edge else 9)
    perturbed = perturb_mask(mask, height, width, rng)
    full = np.zeros((height, width), np.uint8)
    box = full[perturbed.y : perturbed.y + perturbed.pixels.shape[0]]
    box = box[:, perturbed.x : perturbed.x + perturbed.pixels.shape[1]]
    assert box.shape == perturbed.pixels.shape
    box[perturbed.pixels] = 1
    (tight,) = masks_from_labels(full)
    assert (tight.x, tight.y) == (perturbed.x, perturbed.y)
    assert np.array_equal(tight.pixels, perturbed.pixels)


def test_perturbed_masks_differ_but_still_cover_their_crystal() -> None:
    rng = np.random.default_rng(0)
    y, x = np.ogrid[-30:31, -30:31]
    disc = x * x + y * y <= 900
    true = np.zeros((120, 120), bool)
    true[20:81, 30:91] = disc
    overlaps = []
    for _ in range(200):
        perturbed = perturb_mask(Mask(30, 20, disc), 120, 120, rng)
        full = np.zeros_like(true)
        h, w = perturbed.pixels.shape
        full[perturbed.y : perturbed.y + h, perturbed.x : perturbed.x + w] = perturbed.pixels
        overlaps.append((full & true).sum() / (full | true).sum())
    assert min(overlaps) > 0.4
    assert 0.75 < np.mean(overlaps) < 0.97
