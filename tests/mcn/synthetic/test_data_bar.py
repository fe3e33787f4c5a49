"""A rendered data bar has the scale of its picture, like a microscope's."""

from __future__ import annotations

import numpy as np
import pytest

from mcn.synthetic.data_bar import bar_height, draw_data_bar


def bar(seed: int, height: int = 50, width: int = 768, pixel_size_um: float = 0.05) -> np.ndarray:
    return draw_data_bar(height, width, pixel_size_um, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("height", "expected"), [(768, 50), (384, 25), (192, 18), (16, 18), (1, 18)]
)
def test_a_bar_is_never_too_low_for_text(height: int, expected: int) -> None:
    assert bar_height(height) == expected


@pytest.mark.parametrize("seed", range(8))
def test_a_bar_is_text_on_a_uniform_background(seed: int) -> None:
    pixels = bar(seed)
    assert pixels.shape == (50, 768)
    assert pixels.dtype == np.uint8
    counts = np.bincount(pixels[1:].ravel(), minlength=256)
    assert 0.6 < counts.max() / counts.sum() < 0.99
    ground = counts.argmax()
    assert np.abs(pixels.astype(int) - ground).max() > 150, "text is visible"


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("pixel_size_um", [1e-3, 0.0123, 0.5, 40.0])
def test_the_scale_bar_has_a_round_length(seed: int, pixel_size_um: float) -> None:
    pixels = bar(seed, height=60, width=1024, pixel_size_um=pixel_size_um)
    ground = np.bincount(pixels[1:].ravel(), minlength=256).argmax()
    # The ticks at the ends of the scale bar are the only lines of half the bar's height.
    inked = np.abs(pixels[15:45].astype(int) - ground) > 150
    ticks = np.flatnonzero(inked.all(axis=0))
    assert len(ticks) >= 2
    length_um = (ticks[-1] - ticks[0]) * pixel_size_um
    rounded = float(f"{length_um:.0e}")
    assert length_um == pytest.approx(rounded, abs=2 * pixel_size_um)
    assert f"{rounded:e}"[0] in "125"
    assert 0.05 < length_um / (1024 * pixel_size_um) < 0.25


@pytest.mark.parametrize("width", [16, 40, 120])
def test_narrow_pictures_have_a_bar(width: int) -> None:
    for seed in range(5):
        assert bar(seed, height=18, width=width).shape == (18, width)


def test_the_same_generator_gives_the_same_bar() -> None:
    assert np.array_equal(bar(1), bar(1))
    assert not np.array_equal(bar(1), bar(2))
