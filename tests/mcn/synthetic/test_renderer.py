from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcn.synthetic.heap import RenderError
from mcn.synthetic.renderer import TileSettings, random_settings, render_tile
from mcn.taxonomy import SHAPES

SMALL = TileSettings(height=192, width=256, diameter_um=1.5)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_labels_and_shapes_agree_for_all_settings(seed):
    chosen = random_settings(np.random.Generator(np.random.PCG64(seed)), 128, 160)
    tile = render_tile(seed, chosen)
    assert tile.image.shape == tile.labels.shape == (128, 160)
    assert tile.image.dtype == np.uint8
    assert tile.labels.dtype == np.uint16
    areas = np.bincount(tile.labels.ravel(), minlength=len(tile.shapes) + 1)
    assert len(areas) == len(tile.shapes) + 1
    assert (areas[1:] >= chosen.min_area_px).all()
    assert set(tile.shapes) <= set(SHAPES)
    assert tile.visible_fraction.shape == (len(tile.shapes),)
    assert (tile.visible_fraction > 0).all()
    assert (tile.visible_fraction <= 1.0).all()
    assert np.mean(tile.labels > 0) <= 1.0 - tile.porosity + 1e-9


def test_a_tile_depends_only_on_its_seed():
    first, same, other = render_tile(7, SMALL), render_tile(7, SMALL), render_tile(8, SMALL)
    np.testing.assert_array_equal(first.image, same.image)
    np.testing.assert_array_equal(first.labels, same.labels)
    np.testing.assert_array_equal(first.visible_fraction, same.visible_fraction)
    assert first.shapes == same.shapes
    assert (first.image != other.image).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pure_mix_has_one_shape(shape):
    mix = tuple(float(shape == name) for name in SHAPES)
    tile = render_tile(3, replace(SMALL, shape_mix=mix))
    assert len(tile.shapes) > 10
    assert set(tile.shapes) == {shape}


def test_an_even_mix_has_every_shape():
    assert set(render_tile(3, SMALL).shapes) == set(SHAPES)


@pytest.mark.parametrize("porosity", [0.1, 0.3, 0.6])
def test_porosity_matches_the_setting(porosity):
    porosities = [
        render_tile(seed, replace(SMALL, height=300, width=400, porosity=porosity)).porosity
        for seed in range(3)
    ]
    assert np.mean(porosities) == pytest.approx(porosity, abs=0.05)


def test_crystals_grow_with_the_requested_diameter():
    def median_area(diameter_um):
        tile = render_tile(1, replace(SMALL, diameter_um=diameter_um, porosity=0.3))
        return np.median(np.bincount(tile.labels.ravel())[1:])

    assert 2.0 < median_area(2.4) / median_area(1.2) < 6.0


def test_crystals_are_brighter_than_pores_and_not_uniform():
    tile = render_tile(2, replace(SMALL, porosity=0.35))
    assert tile.image[tile.labels > 0].mean() > 1.3 * tile.image[tile.labels == 0].mean()
    assert tile.image.std() > 20


def test_faults_can_be_switched_off():
    clean, noisy = (render_tile(4, replace(SMALL, severity=level)) for level in (0.0, 2.0))
    np.testing.assert_array_equal(clean.labels, noisy.labels)

    def grain(image):
        return np.abs(np.diff(image.astype(float), n=2, axis=1)).mean()

    assert grain(noisy.image) > grain(clean.image)


def test_a_data_bar_has_text_and_no_crystal():
    tile = render_tile(5, replace(SMALL, data_bar=True))
    assert tile.data_bar_y is not None
    assert tile.image.shape == (192, 256)
    assert not tile.labels[tile.data_bar_y :].any()
    assert tile.labels[tile.data_bar_y - 1].any()
    bar = tile.image[tile.data_bar_y :]
    ground = np.bincount(bar.ravel()).argmax()
    assert 0.5 < np.mean(bar == ground) < 0.99
    assert render_tile(5, SMALL).data_bar_y is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"height": 8}, "height"),
        ({"height": 30, "data_bar": True}, "height"),
        ({"pixel_size_um": 0.0}, "pixel_size_um"),
        ({"diameter_um": 0.1}, "diameter_um"),
        ({"diameter_um": float("nan")}, "diameter_um"),
        ({"shape_mix": (0.0, 0.0, 0.0, 0.0)}, "shape_mix"),
        ({"porosity": 0.95}, "porosity"),
    ],
)
def test_settings_out_of_range_are_named(change, named):
    with pytest.raises(RenderError, match=named):
        render_tile(0, replace(SMALL, **change))


def test_crystals_in_deep_shadow_are_visible_but_not_labelled():
    mix = (1.0, 0.0, 0.0, 0.0)
    settings = replace(SMALL, height=400, width=400, porosity=0.2, shape_mix=mix)
    unfiltered, lit = (render_tile(4, replace(settings, min_light=light)) for light in (0.0, 0.45))
    np.testing.assert_array_equal(unfiltered.image, lit.image)
    assert 0.5 * len(unfiltered.shapes) < len(lit.shapes) < len(unfiltered.shapes)
    left_out = (unfiltered.labels > 0) & (lit.labels == 0)
    np.testing.assert_array_equal(unfiltered.labels[lit.labels > 0] > 0, True)
    assert unfiltered.image[left_out].mean() < 0.6 * lit.image[lit.labels > 0].mean()
