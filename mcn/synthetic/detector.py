"""Simulation of how a scanning electron microscope images a relief: contrast and faults."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def emission(heights: Field, albedo: Field, rng: np.random.Generator) -> Field:
    """Secondary-electron signal of a relief.

    The yield rises as 1/cos of the tilt, edges and ridges emit more because electrons
    leave on both sides, and pores trap electrons; the side of the detector is brighter.

    Parameters
    ----------
    heights : (H, W) float32 array
        Height of the surface, in pixels.
    albedo : (H, W) float32 array
        Emission of the material relative to the mean.
    rng : numpy.random.Generator
        Random generator for the settings of the microscope.

    Returns
    -------
    (H, W) float32 array
        The signal; a flat, open surface gives about 0.4.

    References
    ----------
    Goldstein et al., Scanning Electron Microscopy and X-Ray Microanalysis (2018), ch. 5.
    """
    from scipy import ndimage

    gx, gy = _slope(heights, 1), _slope(heights, 0)
    cosine = 1.0 / np.sqrt(1.0 + gx * gx + gy * gy)
    azimuth = rng.uniform(0.0, 2 * np.pi)
    lit = cosine * (np.float32(np.cos(azimuth)) * gx + np.float32(np.sin(azimuth)) * gy)
    tilt = np.minimum(cosine ** np.float32(-rng.uniform(0.7, 1.1)), 3.2)
    asymmetry = np.float32(rng.uniform(0.2, 0.55))
    signal: Field = (np.float32(0.4) * tilt * (1.0 + asymmetry * lit) * albedo).astype(np.float32)

    reach = rng.uniform(0.8, 2.2)
    ridge: Field = heights - ndimage.gaussian_filter(heights, reach, truncate=3.0)
    signal += np.float32(rng.uniform(0.25, 0.7)) * np.clip(ridge / (4.0 * reach), 0.0, 1.0)
    signal *= np.exp(np.clip(ridge / (3.0 * reach), -1.0, 0.0) * np.float32(rng.uniform(0.6, 1.2)))

    for scale, strength in ((6.0, rng.uniform(0.3, 0.6)), (24.0, rng.uniform(0.5, 0.9))):
        hollow = np.clip((_blur(heights, scale) - heights) / np.float32(scale), 0.0, 3.0)
        signal *= np.exp(np.float32(-strength) * hollow)
    return signal


def expose(signal: Field, severity: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture that a detector records of a signal.

    Applies charging, vignetting, defocus, scan-line jitter, shot and amplifier noise, then
    contrast, brightness and gamma; `severity` scales the faults (0 leaves them out).

    Returns
    -------
    (H, W) uint8 array
    """
    from scipy import ndimage

    height, width = signal.shape
    if rng.random() < 0.35 * severity:
        signal = _charge(signal, rng)
    if rng.random() < 0.4 * severity:
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
        fall = 1.0 - rng.uniform(0.05, 0.25) * (x * x + y * y)
        signal = signal * fall.astype(np.float32)
    sigma = 0.45 + severity * rng.exponential(0.45)
    signal = ndimage.gaussian_filter(signal, min(sigma, 2.2), truncate=3.0)
    if severity > 0.0:
        signal = _jitter(signal, 0.12 * severity * rng.exponential(1.0), rng)

    low, high = np.quantile(signal[::4, ::4], [rng.uniform(0.0, 0.02), rng.uniform(0.985, 0.999)])
    black, white = rng.uniform(0.0, 0.12), rng.uniform(0.78, 1.08)
    level = (signal - low) / max(float(high - low), 1e-6) * (white - black) + black
    level = np.clip(level, 0.0, 1.2) ** np.float32(rng.uniform(0.6, 1.25))
    if severity > 0.0:
        counts = 10 ** rng.uniform(1.6, 3.2) / severity
        shot = np.sqrt(np.maximum(level, 0.02) / counts)
        read = severity * rng.uniform(0.004, 0.02)
        level = level + rng.standard_normal(level.shape, dtype=np.float32) * np.sqrt(
            shot * shot + np.float32(read * read)
        )
    picture: NDArray[np.uint8] = np.clip(level * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return picture


def _charge(signal: Field, rng: np.random.Generator) -> Field:
    """Bright streaks along the scan lines, trailing from a few charged spots."""
    from scipy import ndimage

    height, width = signal.shape
    charge = np.zeros_like(signal)
    for _ in range(rng.integers(1, 5)):
        y, x = rng.integers(0, height), rng.integers(0, width)
        size = rng.uniform(0.01, 0.06) * height
        rows = np.exp(-0.5 * ((np.arange(height) - y) / size) ** 2)
        rows *= 1.0 + 0.35 * rng.standard_normal(height)
        trail = np.where(
            np.arange(width) >= x,
            np.exp(-(np.arange(width) - x) / (rng.uniform(0.1, 0.6) * width)),
            np.exp((np.arange(width) - x) / (0.02 * width)),
        )
        charge += (rng.uniform(-0.15, 0.35) * rows[:, None] * trail[None, :]).astype(np.float32)
    charge = ndimage.gaussian_filter1d(charge, 1.0, axis=0)
    return np.asarray(np.maximum(signal + charge, 0.0), dtype=np.float32)


def _jitter(signal: Field, amplitude: float, rng: np.random.Generator) -> Field:
    """Shift every scan line sideways by under a pixel or so."""
    height, width = signal.shape
    shift = np.clip(rng.normal(0.0, amplitude, size=height), -1.2, 1.2)
    whole = np.floor(shift).astype(np.intp)
    part = (shift - whole).astype(np.float32)[:, None]
    columns = np.arange(width) + whole[:, None]
    left = np.take_along_axis(signal, np.clip(columns, 0, width - 1), axis=1)
    right = np.take_along_axis(signal, np.clip(columns + 1, 0, width - 1), axis=1)
    return np.asarray(left + part * (right - left), dtype=np.float32)


def _slope(heights: Field, axis: int) -> Field:
    """Slope along an axis: the flatter of both one-sided slopes, so never across a cliff."""
    step = np.diff(heights, axis=axis)
    before = np.concatenate([step.take([0], axis), step], axis=axis)
    after = np.concatenate([step, step.take([-1], axis)], axis=axis)
    return np.asarray(np.where(np.abs(before) < np.abs(after), before, after), dtype=np.float32)


def _blur(field: Field, sigma: float) -> Field:
    """Gaussian-like blur at a wide scale: two box means, at a cost independent of sigma."""
    from scipy import ndimage

    size = max(round(sigma * 2.45), 1)
    once = ndimage.uniform_filter(field, size, mode="nearest")
    return np.asarray(ndimage.uniform_filter(once, size, mode="nearest"), dtype=np.float32)
