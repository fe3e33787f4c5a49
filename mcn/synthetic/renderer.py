"""Micrographs of heaped crystals, with exact ground truth for every pixel.

Crystals are dropped one by one onto a heap, which is then rendered as a scanning electron
microscope would image it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mcn.synthetic.crystals import grains, grow, periodic_noise
from mcn.synthetic.data_bar import bar_height, draw_data_bar
from mcn.synthetic.detector import emission, expose
from mcn.synthetic.heap import Heap, RenderError
from mcn.taxonomy import SHAPES

Field = NDArray[np.float32]

_COARSE: Final = 4
"""Step of the grid on which pores are planned, in pixels."""


@dataclass(frozen=True)
class TileSettings:
    """Settings of one rendered tile.

    Parameters
    ----------
    height, width : int
        Size of the picture in pixels, data bar included.
    pixel_size_um : float
        Side of a pixel in micrometres.
    diameter_um : float
        Median diameter of the crystals in micrometres.
    size_spread : float
        Standard deviation of the logarithm of the diameter.
    shape_mix : tuple of 4 floats
        Share of each shape among the crystals dropped, in the order of `SHAPES`.
    porosity : float
        Share of the picture that stays open as pores, 0 to 0.9; crystals are dropped until no
        more than this share is open.
    matrix : float
        Share of fine ground mass below the crystals: 0 a deep dark floor, 1 a rough,
        shallow one.
    stub : bool
        Whether the crystals lie on a smooth, flat stub, as powders are prepared, instead of
        on ground mass.
    elongation : float
        Median ratio of length to width, 1 or more; amorphous lumps stay as they are.
    roughness : float
        Height of the knobs on the crystals' surfaces; see `mcn.synthetic.crystals.grow`.
    polished : bool
        Whether the surface is ground flat, so that crystals differ by grey level and border alone.
    ground_light : float, optional
        Emission of the ground relative to the crystals'; drawn at random if not given.
    film : float
        Share of the ground below a film, which is smooth and has a level of its own.
    halo : float
        Brightness of the charged halo about crystals, relative to theirs.
    severity : float
        Strength of the microscope's faults (noise, blur, charging); 0 leaves them out.
    data_bar : bool
        Whether the lowest rows are a data bar instead of crystals.
    min_area_px, min_visible : int, float
        Crystals with fewer visible pixels, or a smaller visible share of their silhouette
        within the picture, are not labelled.
    min_light : float
        Crystals with a signal below this share of the median crystal's are not labelled
        either, as they are too dark to be outlined.
    """

    height: int = 768
    width: int = 1024
    pixel_size_um: float = 0.05
    diameter_um: float = 3.0
    size_spread: float = 0.3
    shape_mix: tuple[float, float, float, float] = (0.25, 0.25, 0.25, 0.25)
    porosity: float = 0.12
    matrix: float = 0.3
    stub: bool = False
    elongation: float = 1.0
    roughness: float = 0.0
    polished: bool = False
    ground_light: float | None = None
    film: float = 0.0
    halo: float = 0.0
    severity: float = 1.0
    data_bar: bool = False
    min_area_px: int = 40
    min_visible: float = 0.15
    min_light: float = 0.35

    @property
    def diameter_px(self) -> float:
        """Median diameter of the crystals in pixels."""
        return self.diameter_um / self.pixel_size_um


@dataclass(frozen=True, eq=False)
class RenderedTile:
    """A picture and its ground truth.

    Parameters
    ----------
    image : (H, W) uint8 array
    labels : (H, W) uint16 array
        The crystal at each pixel: 0 for none, n for the n-th crystal. If a crystal is visible
        in several pieces, the largest is the instance, and the others are 0.
    shapes : tuple of str
        Shape of crystals 1 to n.
    visible_fraction : (n,) float32 array
        Area of each instance as a fraction of its whole silhouette, including the parts that
        are hidden or outside the picture.
    porosity : float
        Share of the pixels above the data bar that show the floor, not a crystal.
    pixel_size_um : float
    data_bar_y : int or None
        First row of the data bar; None if there is none.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint16]
    shapes: tuple[str, ...]
    visible_fraction: NDArray[np.float32]
    porosity: float
    pixel_size_um: float
    data_bar_y: int | None = None


def render_tile(seed: int, settings: TileSettings = TileSettings()) -> RenderedTile:
    """Render one tile; the same seed and settings give the same arrays.

    Raises
    ------
    RenderError
        The settings are out of range.
    """
    _check(settings)
    rng = np.random.Generator(np.random.PCG64(seed))
    bar = bar_height(settings.height) if settings.data_bar else 0
    heap = _pile(replace(settings, height=settings.height - bar), rng)
    signal = _signal(heap, settings, rng)
    image = expose(signal, settings.severity, rng)
    labels, shapes, visible = heap.instances(settings.min_area_px, settings.min_visible)
    lit = _lit(labels, len(shapes), signal, settings.min_light)
    labels = np.where(lit, np.cumsum(lit), 0).astype(np.uint16)[labels]
    if bar:
        strip = draw_data_bar(bar, settings.width, settings.pixel_size_um, rng)
        image = np.vstack([image, strip])
        labels = np.vstack([labels, np.zeros_like(strip, dtype=np.uint16)])
    return RenderedTile(
        image=image,
        labels=labels,
        shapes=tuple(shape for shape, is_lit in zip(shapes, lit[1:], strict=True) if is_lit),
        visible_fraction=visible[lit[1:]],
        porosity=float(np.mean(heap.owner == 0)),
        pixel_size_um=settings.pixel_size_um,
        data_bar_y=settings.height - bar if bar else None,
    )


def _signal(heap: Heap, settings: TileSettings, rng: np.random.Generator) -> Field:
    """What the detector would see (H, W) of a heap."""
    contrast = 0.25 if settings.polished else 0.07
    brightness = np.exp(rng.normal(0.0, contrast, size=len(heap) + 1)).astype(np.float32)
    brightness[0] *= rng.uniform(0.2, 1.2) if settings.stub else rng.uniform(0.55, 0.9)
    if settings.ground_light is not None:
        brightness[0] = settings.ground_light
    light = brightness[heap.owner]
    heights = _polish(heap, rng) if settings.polished else heap.heights
    if settings.film > 0:
        light *= _film(heap.owner == 0, settings, rng)
    signal = emission(heights + _dust(heights.shape, rng), light, rng)
    if settings.halo > 0:
        signal = signal + _halo(heap.owner > 0, settings, rng)
    return signal


def _polish(heap: Heap, rng: np.random.Generator) -> Field:
    """Heights (H, W) of a polished section: flat crystals, grooves between them, rough ground."""
    from scipy import ndimage

    crystals = heap.owner > 0
    across, down = np.diff(heap.owner, axis=1) != 0, np.diff(heap.owner, axis=0) != 0
    grooves = np.zeros(crystals.shape, np.float32)
    grooves[:, 1:] += across
    grooves[1:] += down
    grooves = ndimage.gaussian_filter(np.minimum(grooves, 1), rng.uniform(0.6, 1.2))
    height, width = crystals.shape
    ground = grains(height, width, rng.uniform(3.0, 12.0), rng) * ~crystals
    heights = rng.uniform(0.0, 1.0) * ground - rng.uniform(0.5, 4.0) * grooves
    return np.asarray(heights, np.float32)


def _film(ground: NDArray[np.bool_], settings: TileSettings, rng: np.random.Generator) -> Field:
    """Factor (H, W) by which a film changes the emission of the ground."""
    height, width = ground.shape
    pattern = periodic_noise(height, width, rng.uniform(1.0, 6.0) * settings.diameter_px, rng)
    covered = (pattern > np.quantile(pattern[::_COARSE, ::_COARSE], 1 - settings.film)) & ground
    return np.where(covered, np.float32(np.exp(rng.normal(0.0, 0.6))), np.float32(1))


def _halo(crystals: NDArray[np.bool_], settings: TileSettings, rng: np.random.Generator) -> Field:
    """Light (H, W) on the ground about charged crystals; a flat surface gives about 0.4."""
    from scipy import ndimage

    reach = rng.uniform(0.05, 0.3) * settings.diameter_px
    glow = ndimage.gaussian_filter(crystals.astype(np.float32), reach) * ~crystals
    return np.asarray(0.8 * settings.halo * glow, np.float32)


def random_settings(rng: np.random.Generator, height: int = 768, width: int = 1024) -> TileSettings:
    """Random settings for training, over all mixes, sizes, porosities and faults."""
    reach = np.sqrt(height * width)
    smallest, largest = max(12.0, 0.03 * reach), min(250.0, 0.35 * reach)
    diameter_px = np.exp(rng.uniform(np.log(smallest), np.log(largest)))
    pixel_size_um = float(np.exp(rng.uniform(np.log(0.008), np.log(0.12))))
    mix = rng.dirichlet([0.45] * 4)
    ground = rng.choice(["mass", "stub", "membrane", "section"], p=[0.5, 0.25, 0.1, 0.15])
    stub, polished = bool(ground == "stub"), bool(ground == "section")
    porosity = {
        "mass": rng.beta(1.3, 3.5) * 0.7,
        "stub": rng.uniform(0.3, 0.9),
        "membrane": rng.uniform(0.6, 0.9),
        "section": rng.uniform(0.0, 0.6),
    }[ground]
    return TileSettings(
        height=height,
        width=width,
        pixel_size_um=pixel_size_um,
        diameter_um=float(diameter_px * pixel_size_um),
        size_spread=float(rng.uniform(0.1, 0.5)),
        shape_mix=(float(mix[0]), float(mix[1]), float(mix[2]), float(mix[3])),
        porosity=float(porosity),
        matrix=1.0 if ground == "membrane" else float(rng.uniform(0.0, 1.0)),
        stub=stub,
        elongation=float(np.exp(rng.uniform(0.3, 2.0))) if rng.random() < 0.2 else 1.0,
        roughness=float(rng.uniform(0.3, 1.5)) if rng.random() < 0.25 else 0.0,
        polished=polished,
        ground_light=float(rng.uniform(0.3, 2.2)) if rng.random() < 0.3 else None,
        film=float(rng.uniform(0.1, 0.7)) if rng.random() < 0.2 else 0.0,
        halo=float(rng.uniform(0.2, 0.8)) if rng.random() < 0.15 else 0.0,
        severity=float(rng.uniform(0.3, 1.6)),
    )


def _pile(settings: TileSettings, rng: np.random.Generator) -> Heap:
    """Drop crystals where the heap is lowest, except in pores, until it is dense enough."""
    height, width, diameter = settings.height, settings.width, settings.diameter_px
    floor, pore_penalty = _floor(settings, rng)
    heap = Heap(floor)
    spread = settings.size_spread
    mean_area = np.pi / 4 * diameter**2 * np.exp(2 * spread**2)
    margin = 0.4 * diameter
    layer = (height + 2 * margin) * (width + 2 * margin) * (1.0 - settings.porosity) / mean_area
    most, least = int(np.ceil(3.0 * layer)) + 1, 1.6 * layer
    mix = np.asarray(settings.shape_mix) / sum(settings.shape_mix)
    shapes = rng.choice(len(SHAPES), size=most, p=mix)
    diameters = diameter * np.exp(np.clip(rng.normal(0.0, spread, size=most), -1.2, 1.0))
    places = rng.uniform(-margin, [height + margin, width + margin], size=(most, 16, 2))
    rests = rng.uniform(0.3, 0.7, size=most)
    ratios = np.ones(most)
    if settings.elongation > 1:
        ratios = np.maximum(settings.elongation * np.exp(rng.normal(0.0, 0.25, size=most)), 1.0)
    open_px = height * width
    for i in range(most):
        y, x = places[i].astype(np.intp).T
        row, column = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
        penalty = pore_penalty[row // _COARSE, column // _COARSE]
        best = np.argmin(heap.heights[row, column] + penalty)
        shape = SHAPES[shapes[i]]
        rest = float(rests[i]) - 0.6 if shape == "amorphous" else float(rests[i])
        relief = grow(shape, float(diameters[i]), rng, float(ratios[i]), settings.roughness)
        open_px -= heap.drop(shape, relief, int(y[best]), int(x[best]), rest)
        if i >= least and open_px <= settings.porosity * height * width:
            break
    return heap


def _floor(settings: TileSettings, rng: np.random.Generator) -> tuple[Field, Field]:
    """Height of the floor (H, W), and the penalty on places near a pore (on the coarse grid)."""
    from scipy import ndimage

    height, width, diameter = settings.height, settings.width, settings.diameter_px
    pattern = periodic_noise(height, width, rng.uniform(1.5, 4.0) * diameter, rng)
    edge = np.quantile(pattern[::_COARSE, ::_COARSE], 1.0 - 0.8 * settings.porosity)
    far = ndimage.distance_transform_edt(pattern[::_COARSE, ::_COARSE] < edge) * _COARSE
    penalty = 2.5 * diameter * np.clip(1.0 - far / (0.45 * diameter), 0.0, 1.0)
    if settings.stub:
        return np.zeros((height, width), np.float32), penalty.astype(np.float32)

    pore = np.tanh(np.maximum(pattern - edge + 0.6, 0.0) ** 2)
    grainy = grains(height, width, rng.uniform(0.06, 0.2) * diameter, rng)
    uneven = periodic_noise(height, width, 0.5 * diameter, rng)
    relief = (0.04 * diameter * grainy + 0.06 * diameter * uneven) * (0.4 + settings.matrix)
    floor = relief - (1.5 - settings.matrix) * diameter * pore
    return floor.astype(np.float32), penalty.astype(np.float32)


def _lit(
    labels: NDArray[np.uint16], count: int, signal: Field, min_light: float
) -> NDArray[np.bool_]:
    """Whether each label is bright enough to be visible; False for label 0."""
    sums = np.bincount(labels.ravel(), signal.ravel(), minlength=count + 1)
    light = sums / np.maximum(np.bincount(labels.ravel(), minlength=count + 1), 1)
    lit: NDArray[np.bool_] = light >= min_light * np.median(light[1:] if count else light)
    lit[0] = False
    return lit


def _dust(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    """Height of debris of a few pixels that lies on the crystals."""
    from scipy import ndimage

    dust = np.zeros(shape, dtype=np.float32)
    count = int(max(rng.normal(-1e-4, 4e-4), 0.0) * dust.size)
    sigma = rng.uniform(0.8, 1.8)
    places = rng.integers(0, shape, size=(count, 2))
    dust[places[:, 0], places[:, 1]] = rng.uniform(3.0, 14.0, size=count) * sigma
    return dust if count == 0 else np.asarray(ndimage.gaussian_filter(dust, sigma), np.float32)


def _check(settings: TileSettings) -> None:
    mix = settings.shape_mix
    rows = settings.height - (bar_height(settings.height) if settings.data_bar else 0)
    wrong = {
        "height and width (16 or more, data bar aside)": min(rows, settings.width) < 16,
        "pixel_size_um (above 0)": not settings.pixel_size_um > 0,
        "diameter_um (8 pixels or more)": not settings.diameter_um >= 8 * settings.pixel_size_um,
        "size_spread (0 to 1)": not 0 <= settings.size_spread <= 1,
        "shape_mix (4 shares of 0 or more)": len(mix) != 4 or min(mix) < 0 or not sum(mix) > 0,
        "porosity (0 to 0.9)": not 0 <= settings.porosity <= 0.9,
        "elongation (1 to 20)": not 1 <= settings.elongation <= 20,
        "roughness, film and halo (0 or more)": min(
            settings.roughness, settings.film, settings.halo
        )
        < 0,
    }
    for name, is_wrong in wrong.items():
        if is_wrong:
            raise RenderError(f"cannot render a tile: {name} is out of range in {settings}")
