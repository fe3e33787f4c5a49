"""Training samples of the segmenters: augmented crops, their prompts and their targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mcn.segment.modeling.image_encoder import PROPOSAL_STRIDE
from mcn.segment.training.augmentation import annotate, crop, degrade, heap_up

Float = NDArray[np.float32]

UNKNOWN: Final = -1
"""Label of the background of images whose truth is incomplete."""


@dataclass(frozen=True)
class SampleSettings:
    """How crops and prompts are drawn.

    Parameters
    ----------
    size : int
        Side of a crop, pixels; a multiple of 32.
    prompts : int
        Prompts per crop.
    negatives : float
        Share of prompts on background, whose mask is empty.
    zoom : (float, float)
        Minimum and maximum magnification.
    heaped : float
        Share of crops in which copies of the crystals overlap the others.
    """

    size: int = 320
    prompts: int = 12
    negatives: float = 0.15
    zoom: tuple[float, float] = (0.25, 4.0)
    heaped: float = 0.2


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image to train on.

    Parameters
    ----------
    pixels : (H, W) uint8 array
        Grey values.
    labels : (H, W) int32 array
        Instance labels, 0 the background.
    complete : bool
        Whether all crystals are labelled; otherwise the background may hide some.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]
    complete: bool = True


@dataclass(frozen=True)
class Sample:
    """One crop of S×S pixels with K prompts.

    Parameters
    ----------
    image : (S, S) float32 array
        Standardised grey values.
    labels : (S, S) int32 array
        Instance labels; `UNKNOWN` where an unlabelled crystal may be.
    heat, regress : (S/4, S/4) and (4, S/4, S/4) float32 arrays
        Centre heat; logarithms of distances to the crystal's box, NaN where not trained.
    windows, points, boxes : (K, 4), (K, 1, 2), (K, 4) float32 arrays
        Prompts in pixels; points or boxes NaN where a prompt has none.
    targets : (K,) int32 array
        Label that each prompt should segment; 0 for background.
    """

    image: Float
    labels: NDArray[np.int32]
    heat: Float
    regress: Float
    windows: Float
    points: Float
    boxes: Float
    targets: NDArray[np.int32]


def samples(
    sources: Sequence[Sequence[LabelledImage]],
    settings: SampleSettings,
    seed: int,
) -> Iterator[Sample]:
    """Endless samples, drawn from each source equally often."""
    rng = np.random.default_rng(seed)
    while True:
        source = sources[int(rng.integers(len(sources)))]
        yield make_sample(source[int(rng.integers(len(source)))], settings, rng)


def make_sample(
    labelled: LabelledImage, settings: SampleSettings, rng: np.random.Generator
) -> Sample:
    """One augmented crop of a labelled image, with prompts and targets."""
    image, labels = crop(labelled.pixels, labelled.labels, settings.size, settings.zoom, rng)
    if rng.random() < settings.heaped:
        image, labels = heap_up(image, labels, rng)
    image, labels = annotate(degrade(image, rng), labels, rng)
    image = standardise(image)
    objects = describe(labels)
    heat, regress = proposal_targets(labels, objects)
    background = np.argwhere(labels == 0) if labelled.complete else np.empty((0, 2), np.intp)
    prompts = _prompts(image, labels, objects, background, settings, rng)
    windows, points, boxes, targets = prompts
    if not labelled.complete:
        labels = np.where(labels == 0, UNKNOWN, labels)
    return Sample(image, labels, heat, regress, windows, points, boxes, targets)


def standardise(image: NDArray[np.generic]) -> Float:
    """Grey values (H, W) with zero mean and unit deviation; a constant image gives zeros."""
    grey = image.astype(np.float32)
    grey -= grey.mean()
    grey /= max(float(grey.std()), 1e-3)
    return grey


@dataclass(frozen=True)
class Objects:
    """The n crystals of a label image.

    Parameters
    ----------
    ids : (n,) int array
        Labels.
    boxes : (n, 4) float32 array
        Left, top, right, bottom, pixels.
    centres : (n, 2) float32 array
        x, y of a pixel far from the border and near the centroid.
    """

    ids: NDArray[np.int64]
    boxes: Float
    centres: Float


def describe(labels: NDArray[np.int32], min_area: int = 12) -> Objects:
    """Boxes and inner centres of the crystals of a label image (H, W)."""
    area = np.bincount(labels.ravel())
    area[0] = 0
    ids = np.flatnonzero(area >= min_area)
    if not len(ids):
        return Objects(ids, np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32))
    slices = ndimage.find_objects(labels)
    boxes = np.array(
        [
            [
                slices[i - 1][1].start,
                slices[i - 1][0].start,
                slices[i - 1][1].stop,
                slices[i - 1][0].stop,
            ]
            for i in ids
        ],
        dtype=np.float32,
    )
    padded = np.pad(labels, 1)
    border = (
        (labels != padded[:-2, 1:-1])
        | (labels != padded[2:, 1:-1])
        | (labels != padded[1:-1, :-2])
        | (labels != padded[1:-1, 2:])
    )
    depth = ndimage.distance_transform_edt(~border)
    rows, columns = np.indices(labels.shape, dtype=np.float32)
    count = np.maximum(area, 1)
    flat = labels.ravel()
    cx = np.bincount(flat, columns.ravel()) / count
    cy = np.bincount(flat, rows.ravel()) / count
    radius = np.sqrt(count / np.pi)
    deepest = np.zeros(len(area))
    deepest[ids] = ndimage.maximum(depth, labels, ids)
    offset = np.hypot(columns - cx[labels], rows - cy[labels]) / radius[labels]
    score = depth / np.maximum(deepest, 1)[labels] - 0.5 * offset
    best = ndimage.maximum_position(score, labels, ids)
    centres = np.array([[x + 0.5, y + 0.5] for y, x in best], dtype=np.float32)
    return Objects(ids, boxes, centres)


def proposal_targets(labels: NDArray[np.int32], objects: Objects) -> tuple[Float, Float]:
    """Centre heat (S/4, S/4) and box distances (4, S/4, S/4) at stride 4."""
    height, width = (n // PROPOSAL_STRIDE for n in labels.shape)
    heat = np.zeros((height, width), np.float32)
    regress = np.full((4, height, width), np.nan, np.float32)
    half = PROPOSAL_STRIDE // 2
    cells = labels[half::PROPOSAL_STRIDE, half::PROPOSAL_STRIDE][:height, :width]
    sizes = (objects.boxes[:, 2:] - objects.boxes[:, :2]).min(axis=1, initial=1e9)
    for i in np.argsort(-sizes):  # small crystals last, so that they keep their cells
        x, y = objects.centres[i] / PROPOSAL_STRIDE
        sigma = max(0.7, 0.09 * float(sizes[i]) / PROPOSAL_STRIDE)
        reach = int(3 * sigma) + 1
        cx, cy = min(int(x), width - 1), min(int(y), height - 1)
        ys = slice(max(cy - reach, 0), cy + reach + 1)
        xs = slice(max(cx - reach, 0), cx + reach + 1)
        gy, gx = np.mgrid[ys.start : min(ys.stop, height), xs.start : min(xs.stop, width)]
        bump = np.exp(-((gx - cx) ** 2 + (gy - cy) ** 2) / (2 * sigma**2)).astype(np.float32)
        heat[ys, xs] = np.maximum(heat[ys, xs], bump)
        trained = (bump > 0.3) & ((cells[ys, xs] == objects.ids[i]) | (bump == 1))
        left, top, right, bottom = objects.boxes[i] / PROPOSAL_STRIDE
        px, py = gx + 0.5, gy + 0.5
        reaches = np.stack([px - left, py - top, right - px, bottom - py])
        regress[:, ys, xs] = np.where(trained, np.log(np.maximum(reaches, 0.1)), regress[:, ys, xs])
    return heat, regress


def _prompts(
    image: Float,
    labels: NDArray[np.int32],
    objects: Objects,
    background: NDArray[np.intp],
    settings: SampleSettings,
    rng: np.random.Generator,
) -> tuple[Float, Float, Float, NDArray[np.int32]]:
    """K prompts, a point, a box or both: most on crystals, some on background."""
    k, size = settings.prompts, labels.shape[0]
    n = len(objects.ids)
    chosen = np.concatenate([rng.permutation(n) for _ in range(k // n + 1)])[:k] if n else None
    contrast = np.abs(ndimage.gaussian_filter(image, 2))
    on_crystal = np.ones(k, bool) if chosen is not None else np.zeros(k, bool)
    if len(background):
        on_crystal &= rng.random(k) >= settings.negatives
    elif chosen is None:
        on_crystal[:] = True
    boxes = np.zeros((k, 4), np.float32)
    points = np.zeros((k, 1, 2), np.float32)
    targets = np.full(k, 0 if len(background) else UNKNOWN, np.int32)
    sides = (objects.boxes[:, 2:] - objects.boxes[:, :2]) if n else np.full((1, 2), size / 8)
    for i in range(k):
        if on_crystal[i] and chosen is not None:
            j = chosen[i]
            boxes[i] = objects.boxes[j]
            targets[i] = objects.ids[j]
            points[i, 0] = (
                objects.centres[j]
                if rng.random() < 0.5
                else _pixel_of(labels, objects.ids[j], objects.boxes[j], rng)
            )
        else:
            y, x = _decoy(contrast, background, rng)
            half = sides[rng.integers(len(sides))] / 2
            centre = np.array([x + 0.5, y + 0.5], np.float32)
            points[i, 0] = centre
            boxes[i] = np.concatenate([centre - half, centre + half])
    width = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    noisy = boxes + width * rng.normal(0, 0.06, boxes.shape).astype(np.float32)
    centre = (noisy[:, :2] + noisy[:, 2:]) / 2 + width * rng.normal(0, 0.05, (k, 2))
    # Now and then the window is smaller than the crystal, as those of proposals may be.
    low = np.where(rng.random((k, 1)) < 0.15, 0.6, 1.2)
    side = np.maximum(width, 8) * np.exp(rng.uniform(np.log(low), np.log(2.2)))
    windows = np.concatenate([centre - side / 2, centre + side / 2], axis=1)
    kind = rng.random(k)
    noisy[kind < 0.3] = np.nan
    points[kind > 0.85] = np.nan
    return windows.astype(np.float32), points, noisy.astype(np.float32), targets


def _decoy(
    contrast: Float, background: NDArray[np.intp], rng: np.random.Generator
) -> tuple[int, int]:
    """Row and column of a background pixel with contrast, which is easily taken for a crystal."""
    if not len(background):
        return 0, 0
    drawn = background[rng.integers(len(background), size=6)]
    y, x = drawn[contrast[drawn[:, 0], drawn[:, 1]].argmax()]
    return int(y), int(x)


def _pixel_of(labels: NDArray[np.int32], label: int, box: Float, rng: np.random.Generator) -> Float:
    left, top, right, bottom = box.astype(int)
    rows, columns = np.nonzero(labels[top:bottom, left:right] == label)
    pick = rng.integers(len(rows))
    return np.array([left + columns[pick] + 0.5, top + rows[pick] + 0.5], np.float32)
