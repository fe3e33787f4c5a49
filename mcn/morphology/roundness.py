"""Roundness of crystals, after Wadell, from their outlines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcn.morphology.polygons import Polygons

_POINTS: Final = 128
"""Points of a smoothed outline; a power of two, for the Fourier transform."""

_SMOOTHING: Final = 0.02
"""Standard deviation of the smoothing as a share of the outline's length."""

_SMOOTHING_PX: Final = 2.0
"""The least standard deviation that removes the steps between pixels, in pixels."""

_LEAST_TURN: Final = np.radians(15)
"""Less turning than this is unevenness, not a corner."""


@dataclass(frozen=True, eq=False)
class SmoothOutlines:
    """Outlines as smooth curves of P points each, in single precision.

    Parameters
    ----------
    points : (M, P) complex64 array
        x + iy along each outline, clockwise as seen, evenly spaced before smoothing.
    tangents : (M, P) complex64 array
        Their derivatives by the number of the point.
    curvature : (M, P) float32 array
        In 1/pixel; positive where an outline is convex.
    """

    points: NDArray[np.complex64]
    tangents: NDArray[np.complex64]
    curvature: NDArray[np.float32]


def smooth_outlines(outlines: Polygons) -> SmoothOutlines:
    """Smooth outlines by a Gaussian of 2 % of their length, and at least 2 pixels."""
    from scipy import fft

    following = outlines.following
    z = (outlines.x + 1j * outlines.y).astype(np.complex128)
    step = np.abs(z[following] - z)
    walked = np.concatenate([[0.0], np.cumsum(step)])
    begin = walked[outlines.start[:-1]]
    length = walked[outlines.start[1:]] - begin
    # All outlines are one long walk; each is closed by the edge to its first point.
    at = (begin[:, None] + length[:, None] * (np.arange(_POINTS) / _POINTS)).ravel()
    edge = np.searchsorted(walked, at, side="right") - 1
    part = (at - walked[edge]) / step[edge]
    points = (z[edge] + part * (z[following[edge]] - z[edge])).reshape(len(outlines), _POINTS)
    points -= points[:, :1]
    sigma = np.maximum(_SMOOTHING, _SMOOTHING_PX / length)
    wave = fft.fftfreq(_POINTS, 1 / _POINTS)
    damping = np.exp(-2 * (np.pi * wave * sigma[:, None]) ** 2).astype(np.float32)
    spectrum = fft.fft(points.astype(np.complex64), axis=1) * damping
    rate = (2j * np.pi / _POINTS * wave).astype(np.complex64)
    tangents = fft.ifft(spectrum * rate, axis=1)
    bend = fft.ifft(spectrum * rate**2, axis=1)
    speed = np.maximum(tangents.real**2 + tangents.imag**2, np.float32(1e-12))
    curvature = (tangents.real * bend.imag - tangents.imag * bend.real) / (speed * np.sqrt(speed))
    return SmoothOutlines(fft.ifft(spectrum, axis=1), tangents, curvature)


def inscribed_radii(curves: SmoothOutlines) -> NDArray[np.float32]:
    """Radius of the largest circle within each outline, in pixels, (M,).

    The largest circle within an outline that touches it at one point is the smallest of those
    through this and another point [1]_; the largest of all points is the inscribed one.

    References
    ----------
    .. [1] J. Ma, S. W. Bae, S. Choi, "3D medial axis point approximation using nearest neighbors
       and the normal field", The Visual Computer 28, 2012.
    """
    points, tangents = curves.points[:, ::2], curves.tangents[:, ::2]
    inwards = 1j * tangents / np.maximum(np.abs(tangents), np.float32(1e-6))
    dx = points.real[:, None, :] - points.real[:, :, None]
    dy = points.imag[:, None, :] - points.imag[:, :, None]
    square = dx * dx + dy * dy
    dx *= inwards.real[:, :, None]
    dy *= inwards.imag[:, :, None]
    dx += dy
    # Points behind the tangent lie in no circle.
    np.maximum(dx, 0, out=dx)
    square += np.float32(1e-6)
    curvature = (dx / square).max(axis=2).min(axis=1)
    return np.asarray(0.5 / np.maximum(curvature, np.float32(1e-6)))


def wadell_roundness(outlines: Polygons) -> NDArray[np.float64]:
    """Mean radius of the corners of each outline over that of the inscribed circle, (M,).

    A corner is a stretch of the outline that is bent more sharply than the inscribed circle
    [1]_. Its radius is its length over the angle by which it turns. The smoothing that removes
    the steps between pixels, as in [2]_, rounds sharp corners too: a square gives about 0.3, and a
    disc 0.75 to 1, as its outline is never quite even.

    Parameters
    ----------
    outlines : Polygons
        Clockwise as seen, of M crystals.

    Returns
    -------
    (M,) float array
        Above 0, at most 1.

    References
    ----------
    .. [1] H. Wadell, "Volume, Shape, and Roundness of Rock Particles", Journal of Geology
       40(5), 1932.
    .. [2] J. Zheng, R. D. Hryciw, "Traditional soil particle sphericity, roundness and surface
       roughness by computational geometry", Géotechnique 65(6), 2015.
    """
    curves = smooth_outlines(outlines)
    inscribed = inscribed_radii(curves)
    step = np.abs(curves.tangents)
    turning = curves.curvature * step
    is_corner = curves.curvature * inscribed[:, None] > 1
    is_first = is_corner & ~np.roll(is_corner, 1, axis=1)
    corner = np.cumsum(is_first, axis=1)
    # A corner may begin before the first point and go on after it.
    corner = np.where(corner == 0, corner[:, -1:], corner)
    number = corner + np.arange(len(corner))[:, None] * (_POINTS + 1)
    count = len(corner) * (_POINTS + 1)
    length = np.bincount(number[is_corner], step[is_corner], count)
    turn = np.bincount(number[is_corner], turning[is_corner], count)
    is_real = turn > _LEAST_TURN
    radius = np.where(is_real, length / np.where(is_real, turn, 1), 0).reshape(len(corner), -1)
    n_corners = is_real.reshape(len(corner), -1).sum(axis=1)
    mean = radius.sum(axis=1) / np.maximum(n_corners, 1)
    ratio = np.where(n_corners > 0, mean / np.maximum(inscribed, 1e-9), 1.0)
    return np.asarray(np.clip(ratio, 0.0, 1.0))
