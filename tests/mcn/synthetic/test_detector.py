"""A relief looks as in a scanning electron microscope: bright edges, dark pores, faults."""

from __future__ import annotations

import numpy as np
import pytest

from mcn.synthetic.detector import Field, emission, expose

PLAIN = np.ones((64, 80), dtype=np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def relief() -> Field:
    """A cone 20 pixels high on a plane."""
    y, x = np.mgrid[:64, :80].astype(np.float32)
    return np.maximum(0, 20 - np.hypot(y - 32, x - 40)).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_a_flat_surface_has_a_uniform_signal(seed: int) -> None:
    signal = emission(np.zeros_like(PLAIN), PLAIN, rng(seed))
    assert signal.dtype == np.float32
    assert signal == pytest.approx(np.full_like(PLAIN, 0.4), rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_a_raised_surface_gives_the_same_signal(seed: int) -> None:
    low, high = (emission(relief() + level, PLAIN, rng(seed)) for level in (0, 100))
    assert high == pytest.approx(low, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_slopes_are_brighter_and_pits_darker_than_a_plane(seed: int) -> None:
    cone = relief()
    hill, pit = emission(cone, PLAIN, rng(seed)), emission(-cone, PLAIN, rng(seed))
    flank = (cone > 6) & (cone < 14)
    assert hill[flank].mean() > 1.05 * hill[:4].mean()
    assert pit[cone > 16].mean() < hill[cone > 16].mean()
    assert (hill > 0).all()
    assert (pit > 0).all()


def test_signal_follows_the_materials_emission() -> None:
    bright = emission(relief(), PLAIN, rng())
    assert emission(relief(), 0.5 * PLAIN, rng()).mean() < 0.7 * bright.mean()


@pytest.mark.parametrize("severity", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_pictures_have_8_bits_and_use_them(seed: int, severity: float) -> None:
    picture = expose(emission(relief(), PLAIN, rng(seed)), severity, rng(seed))
    assert picture.dtype == np.uint8
    assert picture.shape == PLAIN.shape
    assert np.ptp(picture) > 100


def test_without_faults_brighter_signal_is_never_darker() -> None:
    ramp = np.tile(np.linspace(0.2, 0.9, 80, dtype=np.float32), (64, 1))
    rows = expose(ramp, 0.0, rng()).astype(int)
    assert (np.diff(rows, axis=1) >= 0).all()
    assert (rows == rows[0]).all()


def test_faults_grow_with_severity() -> None:
    signal = emission(relief(), PLAIN, rng())

    def grain(severity: float) -> float:
        pictures = [expose(signal, severity, rng(seed)).astype(float) for seed in range(5)]
        return float(np.mean([np.abs(np.diff(picture, n=2)).mean() for picture in pictures]))

    assert grain(0.0) < grain(1.0) < grain(4.0)


def test_a_signal_without_contrast_gives_a_picture() -> None:
    for severity in (0.0, 2.0):
        assert expose(0.4 * PLAIN, severity, rng()).shape == PLAIN.shape


def test_the_same_generator_gives_the_same_picture() -> None:
    first, same, other = (expose(relief(), 1.0, rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
