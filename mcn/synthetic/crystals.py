"""The geometry of one crystal: its upper and lower surface under a beam from above.

Coordinates are pixels, x to the right, y down, z towards the beam. Every crystal is a relief,
its highest and lowest surface over each pixel of a box, which is all that an orthographic view
from above needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

RHOMB_POLE_DEG: Final = 44.6
"""Angle between the c axis of calcite and the pole of its cleavage face {10-14}."""

SCALENOHEDRON_POLE_DEG: Final = 70.0
"""Angle between the c axis and the poles of the steep faces near {21-31}."""

_GRAIN: Final = 512
"""Side of the periodic texture squares, in pixels."""


@dataclass(frozen=True, eq=False)
class Relief:
    """One crystal as seen from above.

    Parameters
    ----------
    top, bottom : (h, w) float32 array
        Height of the upper and the lower surface above the crystal's centre, in
        pixels. Only meaningful on the silhouette.
    silhouette : (h, w) bool array
        True where the crystal is.
    """

    top: Field
    bottom: Field
    silhouette: NDArray[np.bool_]


def grow(
    shape: str,
    diameter_px: float,
    rng: np.random.Generator,
    elongation: float = 1.0,
    roughness: float = 0.0,
) -> Relief:
    """One crystal at a random orientation.

    Parameters
    ----------
    shape : str
        One of `mcn.taxonomy.SHAPES`.
    diameter_px : float
        Diameter of the disc that has the area of the silhouette, in pixels.
    rng : numpy.random.Generator
        Random generator for form and orientation.
    elongation : float
        Ratio of length to width that the form is stretched by, 1 or more; elongated crystals
        lie nearly flat. Amorphous lumps are not stretched.
    roughness : float
        Height of the knobs of a polycrystalline surface; 0 leaves the faces as they grew, 1 gives
        knobs as high as a tenth of the diameter.

    Returns
    -------
    Relief
        In a box that is just larger than the silhouette.

    Raises
    ------
    KeyError
        `shape` is not one of the four.
    """
    relief = _GROWERS[shape](diameter_px, elongation, rng)
    return _knobbly(relief, diameter_px, roughness, rng) if roughness > 0 else relief


def _grow_rhombic(diameter: float, elongation: float, rng: np.random.Generator) -> Relief:
    """A cleavage rhombohedron, often stretched, sometimes stepped or with a cut corner."""
    poles = _trigonal_poles(RHOMB_POLE_DEG + rng.normal(0.0, 2.0), 3)
    poles = np.concatenate([poles, -poles])
    distances = np.tile(rng.uniform(0.8, 1.2, size=3), 2)
    if rng.random() < 0.25:
        corner = poles[:3].sum(axis=0) * rng.choice([-1.0, 1.0])
        poles = np.vstack([poles, corner / np.linalg.norm(corner)])
        distances = np.append(distances, rng.uniform(1.05, 1.35))
    poles, distances = _elongated(poles, distances, elongation)
    poles = poles @ _rotation(elongation, rng)
    steps = []
    if rng.random() < 0.4:
        for _ in range(rng.integers(1, 3)):
            face = rng.integers(0, 6)
            shrunk = distances * rng.uniform(0.55, 0.9)
            shrunk[face] = distances[face] * rng.uniform(1.03, 1.1)
            steps.append(shrunk)
    rounding = rng.choice([0.008, 0.02, 0.04])
    relief = _cut(poles, [distances, *steps], diameter, rounding, elongation)
    return _roughen(relief, diameter, 0.25, rng)


def _grow_polyhedral(diameter: float, elongation: float, rng: np.random.Generator) -> Relief:
    """A rhombohedron truncated by scalenohedron faces and random cuts: 12 to 26 faces."""
    rhomb = _trigonal_poles(RHOMB_POLE_DEG, 3)
    steep = _trigonal_poles(SCALENOHEDRON_POLE_DEG + rng.normal(0.0, 4.0), 6)
    cuts = rng.normal(size=(rng.integers(3, 8), 3))
    cuts /= np.linalg.norm(cuts, axis=1, keepdims=True)
    steep = steep[rng.random(6) < 0.75]
    poles = np.concatenate([rhomb, -rhomb, steep, -steep, cuts, -cuts[: len(cuts) // 2]])
    distances = np.concatenate(
        [
            rng.uniform(0.86, 1.04, size=6),
            rng.uniform(0.84, 1.02, size=2 * len(steep)),
            rng.uniform(0.88, 1.06, size=len(poles) - 6 - 2 * len(steep)),
        ]
    )
    stretch = np.diag(np.exp(rng.normal(0.0, 0.10, size=3)))
    poles = poles @ stretch
    lengths = np.linalg.norm(poles, axis=1)
    poles, distances = _elongated(poles / lengths[:, None], distances / lengths, elongation)
    poles = poles @ _rotation(elongation, rng)
    rounding = rng.choice([0.004, 0.008, 0.015])
    relief = _cut(poles, [distances], diameter, rounding, elongation)
    return _roughen(relief, diameter, 0.2, rng)


def _grow_spherical(diameter: float, elongation: float, rng: np.random.Generator) -> Relief:
    """A spheroid with a smooth or a granular skin."""
    axes = np.exp(rng.normal(0.0, 0.06, size=2)) * np.sqrt([elongation, 1 / elongation])
    axes *= 0.5 * diameter / np.sqrt(axes.prod())
    half = int(np.ceil(axes.max() * 1.08)) + 1
    x, y = _axes(half, half)
    turn = rng.uniform(0.0, np.pi)
    u = (np.cos(turn) * x + np.sin(turn) * y) / axes[0]
    v = (np.cos(turn) * y - np.sin(turn) * x) / axes[1]
    swell = 1.0 + 0.02 * _ripples(x, y, 0.8 * diameter, 4, rng)
    squared = 1.0 - (u * u + v * v) / (swell * swell)
    silhouette = squared > 0.0
    top = np.sqrt(np.maximum(squared, 0.0)) * (0.5 * diameter / np.sqrt(elongation))
    relief = Relief(top, -top, silhouette)
    return _roughen(relief, diameter, 1.0 if rng.random() < 0.6 else 0.3, rng, granular=True)


def _grow_amorphous(diameter: float, elongation: float, rng: np.random.Generator) -> Relief:
    """A lump of fused, warped ellipsoids that has neither facets nor symmetry."""
    half = int(np.ceil(0.92 * diameter)) + 1
    x, y = _axes(half, half)
    x, y = x / np.float32(0.54 * diameter), y / np.float32(0.54 * diameter)
    u = x + 0.085 * _ripples(x, y, 1.2, 5, rng) + 0.015 * _ripples(x, y, 0.4, 4, rng)
    v = y + 0.085 * _ripples(x, y, 1.2, 5, rng) + 0.015 * _ripples(x, y, 0.4, 4, rng)
    top = np.full(u.shape, -np.inf, dtype=np.float32)
    silhouette = np.zeros(u.shape, dtype=bool)
    for _ in range(rng.integers(3, 6)):
        cx, cy = rng.uniform(-0.45, 0.45, size=2)
        rx, ry, rz = rng.uniform([0.5, 0.5, 0.4], [0.85, 0.85, 0.75])
        squared = 1.0 - ((u - cx) / rx) ** 2 - ((v - cy) / ry) ** 2
        inside = squared > 0.0
        lobe = np.where(inside, rz * np.sqrt(np.maximum(squared, 0.0)), -np.inf)
        top = np.maximum(top, lobe + rng.uniform(-0.12, 0.12))
        silhouette |= inside
    silhouette = _largest_piece(silhouette)
    top = np.where(silhouette, top, 0.0) + 0.035 * _ripples(x, y, 0.7, 6, rng)
    top = (top * (0.54 * diameter)).astype(np.float32)
    return _roughen(Relief(top, -top, silhouette), diameter, 1.0, rng)


def _largest_piece(silhouette: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # A ripple may cut a few pixels off a small lump's lobe.
    from scipy import ndimage

    pieces, count = ndimage.label(silhouette)
    if count < 2:
        return silhouette
    largest: NDArray[np.bool_] = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    return largest


_GROWERS: Final[dict[str, Callable[[float, float, np.random.Generator], Relief]]] = {
    "rhombic": _grow_rhombic,
    "polyhedral": _grow_polyhedral,
    "amorphous": _grow_amorphous,
    "spherical": _grow_spherical,
}


def _cut(
    poles: NDArray[np.float64],
    distances: list[NDArray[np.float64]],
    diameter: float,
    rounding: float,
    elongation: float,
) -> Relief:
    """Convex bodies pole·p ≤ distance, united, scaled to the diameter of the first.

    `rounding` is the width of the edges in half diameters (a smooth minimum of the
    upper planes).
    """
    reach = 2.4 * elongation ** (2 / 3)
    grid = np.linspace(-reach, reach, round(40 * elongation ** (2 / 3)))
    top, bottom = _slab(poles, distances[0], grid, grid, 0.0)
    inside = top > bottom
    cell = grid[1] - grid[0]
    area = max(int(inside.sum()), 1) * cell * cell
    scale = 0.5 * diameter / np.sqrt(area / np.pi)
    seen = [np.abs(grid[inside.any(axis=axis)]).max(initial=cell) + 1.5 * cell for axis in (0, 1)]
    half_width, half_height = (int(np.ceil(extent * scale)) for extent in seen)
    x, y = _axes(half_height, half_width)
    x, y = x.ravel(), y.ravel()
    shape = (y.size, x.size)
    union_top = np.full(shape, -np.inf, dtype=np.float32)
    union_bottom = np.full(shape, np.inf, dtype=np.float32)
    for body in distances:
        top, bottom = _slab(poles, body * scale, x, y, rounding * 0.5 * diameter)
        inside = top > bottom
        np.maximum(union_top, top, out=union_top, where=inside)
        np.minimum(union_bottom, bottom, out=union_bottom, where=inside)
    return Relief(union_top, union_bottom, union_top > union_bottom)


def _slab(
    poles: NDArray[np.float64],
    distances: NDArray[np.float64],
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    rounding: float,
) -> tuple[Field, Field]:
    """Upper and lower surface of a convex body over the grid of x (w,) and y (h,)."""
    steep = np.where(np.abs(poles[:, 2]) < 0.03, np.copysign(0.03, poles[:, 2]), poles[:, 2])
    a, b, c = distances / steep, -poles[:, 0] / steep, -poles[:, 1] / steep
    rows = (a[:, None] + c[:, None] * y).astype(np.float32)
    columns = (b[:, None] * x).astype(np.float32)
    planes = rows[:, :, None] + columns[:, None, :]
    up = steep > 0
    top: Field = planes[up].min(axis=0)
    bottom: Field = planes[~up].max(axis=0)
    if rounding > 0.0:
        weights = np.exp((top - planes[up]) / np.float32(rounding)).sum(axis=0)
        top = top - np.float32(rounding) * np.log(weights)
    return top, bottom


def _elongated(
    poles: NDArray[np.float64], distances: NDArray[np.float64], elongation: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Poles (n, 3) and distances (n,) of a body stretched along x; its volume stays."""
    stretched = poles * elongation ** np.array([-2 / 3, 1 / 3, 1 / 3])
    lengths = np.linalg.norm(stretched, axis=1)
    return stretched / lengths[:, None], distances / lengths


def _knobbly(relief: Relief, diameter: float, height: float, rng: np.random.Generator) -> Relief:
    """A polycrystalline surface: rounded knobs on the upper surface."""
    h, w = relief.top.shape
    knobs = grains(h, w, rng.uniform(0.06, 0.25) * diameter, rng)
    top = relief.top + np.float32(0.035 * height * diameter) * knobs
    return Relief(top, relief.bottom, relief.silhouette)


def _roughen(
    relief: Relief,
    diameter: float,
    strength: float,
    rng: np.random.Generator,
    granular: bool = False,
) -> Relief:
    """Fine grains, pits and undulation on the upper surface."""
    h, w = relief.top.shape
    fine, middle, cells = _textures()
    dy, dx = rng.integers(0, _GRAIN, size=2)
    window = np.ix_((np.arange(h) + dy) % _GRAIN, (np.arange(w) + dx) % _GRAIN)
    size = np.sqrt(diameter / 50.0)
    top = relief.top + np.float32(strength * rng.uniform(0.05, 0.35) * size) * fine[window]
    top += np.float32(strength * rng.uniform(0.1, 0.6) * size) * middle[window]
    if granular:
        top += np.float32(strength * rng.uniform(0.3, 1.2) * size) * cells[window]
    elif rng.random() < 0.3:
        pits = np.minimum(middle[window] + np.float32(1.6), 0.0)
        top += np.float32(rng.uniform(1.0, 2.5)) * pits
    return Relief(top, relief.bottom, relief.silhouette)


def _ripples(x: Field, y: Field, wavelength: float, waves: int, rng: np.random.Generator) -> Field:
    """A smooth random field (h, w) over x (1, w) and y (h, 1): a few plane waves.

    The sine of a sum is a sum of products, so the field is one small matrix product.
    """
    directions = rng.uniform(0.0, 2 * np.pi, size=waves)
    numbers = 2 * np.pi / (wavelength * rng.uniform(0.7, 1.4, size=waves))
    phases = rng.uniform(0.0, 2 * np.pi, size=waves)
    along = (numbers * np.cos(directions))[:, None] * x + phases[:, None]
    down = y * (numbers * np.sin(directions))
    rows = np.concatenate([np.cos(down), np.sin(down)], axis=1)
    columns = np.concatenate([np.sin(along), np.cos(along)], axis=0)
    field: Field = (rows @ columns * np.sqrt(2.0 / waves)).astype(np.float32)
    return field


@lru_cache(maxsize=1)
def _textures() -> tuple[Field, Field, Field]:
    """Three periodic squares of unit variance: 3-pixel noise, 10-pixel noise, grains."""
    from scipy import spatial

    rng = np.random.Generator(np.random.PCG64(20240607))
    seeds = rng.uniform(0, _GRAIN, size=(_GRAIN * _GRAIN // 45, 2))
    tree = spatial.cKDTree(seeds, boxsize=_GRAIN)
    cells = np.stack(np.meshgrid(np.arange(_GRAIN), np.arange(_GRAIN)), axis=-1)
    distance = tree.query(cells.reshape(-1, 2).astype(np.float64))[0].reshape(_GRAIN, _GRAIN)
    return (
        periodic_noise(_GRAIN, _GRAIN, 3.0, rng),
        periodic_noise(_GRAIN, _GRAIN, 10.0, rng),
        _standardise(-(np.minimum(distance, 6.0) ** 2)),
    )


def periodic_noise(height: int, width: int, wavelength: float, rng: np.random.Generator) -> Field:
    """Gaussian noise of zero mean and unit variance, smooth below a wavelength in pixels."""
    spectrum = np.fft.rfft2(rng.normal(size=(height, width)))
    k2 = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width)[None, :] ** 2
    smooth = np.fft.irfft2(spectrum * np.exp(-0.5 * k2 * (wavelength * 1.5) ** 2), (height, width))
    return _standardise(smooth)


def grains(height: int, width: int, size_px: float, rng: np.random.Generator) -> Field:
    """A field (height, width) of rounded grains of about `size_px`, of unit variance."""
    from scipy import ndimage

    zoom = max(size_px / 7.0, 0.5)
    cells = _textures()[2]
    rows = (np.arange(np.ceil(height / zoom) + 2) + rng.integers(_GRAIN)).astype(int) % _GRAIN
    columns = (np.arange(np.ceil(width / zoom) + 2) + rng.integers(_GRAIN)).astype(int) % _GRAIN
    field: Field = ndimage.zoom(cells[np.ix_(rows, columns)], zoom, order=1)[:height, :width]
    return field


def _standardise(field: NDArray[np.floating]) -> Field:
    standard: Field = ((field - field.mean()) / (field.std() + 1e-9)).astype(np.float32)
    return standard


def _axes(half_height: int, half_width: int) -> tuple[Field, Field]:
    """Column (1, w) and row (h, 1) coordinates of a box around the origin."""
    x = np.arange(-half_width, half_width + 1, dtype=np.float32)[None, :]
    y = np.arange(-half_height, half_height + 1, dtype=np.float32)[:, None]
    return x, y


def _trigonal_poles(pole_deg: float, count: int) -> NDArray[np.float64]:
    """Unit normals (count, 3) of faces spaced evenly around the c axis."""
    turn = np.arange(count) * 2 * np.pi / count
    tilt = np.deg2rad(pole_deg)
    return np.stack(
        [np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.full(count, np.cos(tilt))],
        axis=1,
    )


def _rotation(elongation: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A random rotation (3, 3); bodies that are elongated along x stay nearly flat."""
    if elongation == 1:
        return _random_rotation(rng)
    roll, tilt, turn = rng.uniform(0, 2 * np.pi), rng.normal(0.0, 0.15), rng.uniform(0, 2 * np.pi)
    rotation: NDArray[np.float64] = _turn(1, 2, roll) @ _turn(0, 2, tilt) @ _turn(0, 1, turn)
    return rotation


def _turn(first: int, second: int, angle: float) -> NDArray[np.float64]:
    """Rotation (3, 3) by an angle in the plane of two axes."""
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = np.cos(angle)
    matrix[first, second], matrix[second, first] = np.sin(angle), -np.sin(angle)
    return matrix


def _random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A rotation matrix (3, 3), uniform over all orientations (from a random quaternion)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
