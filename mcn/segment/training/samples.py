"""Training samples of the segmenters: augmented crops, their prompts and their targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from mcn.segment.modeling.image_encoder import PROPOSAL_STRIDE

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
    image, labels = _crop(labelled.pixels, labelled.labels, settings, rng)
    if rng.random() < settings.heaped:
        image, labels = _heap_up(image, labels, rng)
    image, labels = _annotate(_degrade(image, rng), labels, rng)
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


def _crop(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int32],
    settings: SampleSettings,
    rng: np.random.Generator,
) -> tuple[Float, NDArray[np.int32]]:
    """A crop at a random position and magnification, flipped and rotated."""
    low, high = settings.zoom
    low = max(low, settings.size / min(pixels.shape))
    area = np.bincount(labels.ravel())[1:]
    if area.any():  # crystals must be large enough to see and small enough to fit
        across = np.sqrt(area[area > 0])
        low = max(low, min(9.0 / float(np.median(across)), 1.0))
        high = min(high, 0.6 * settings.size / float(np.sqrt((across**2).mean())))
    zoom = float(np.exp(rng.uniform(np.log(low), np.log(max(high, low)))))
    side = min(round(settings.size / zoom), *pixels.shape)
    y = rng.integers(pixels.shape[0] - side + 1)
    x = rng.integers(pixels.shape[1] - side + 1)
    steps = (np.arange(settings.size) + 0.5) * side / settings.size
    nearest = np.minimum(steps.astype(int), side - 1)
    cut = pixels[y : y + side, x : x + side].astype(np.float32)
    if side > settings.size:  # smoothed before it is subsampled
        cut = ndimage.gaussian_filter(cut, 0.4 * side / settings.size)
    image = ndimage.map_coordinates(
        cut, np.meshgrid(steps - 0.5, steps - 0.5, indexing="ij"), order=1, mode="nearest"
    )
    crop_labels = labels[y : y + side, x : x + side][np.ix_(nearest, nearest)]
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    image, crop_labels = np.rot90(image, turns), np.rot90(crop_labels, turns)
    if flip:
        image, crop_labels = image[:, ::-1], crop_labels[:, ::-1]
    return image.astype(np.float32), np.ascontiguousarray(crop_labels)


def _heap_up(
    image: Float, labels: NDArray[np.int32], rng: np.random.Generator
) -> tuple[Float, NDArray[np.int32]]:
    """Paste rotated copies of some crystals over the others.

    Real crystals then touch and hide each other in new ways (simple copy-paste, G. Ghiasi et
    al., CVPR 2021). A crystal that is less than a quarter visible loses its label.
    """
    ids = np.unique(labels[labels > 0])
    if not len(ids) or (labels > 0).mean() > 0.5:
        return image, labels
    turns = int(rng.integers(1, 4))
    copied_image, copied_labels = np.rot90(image, turns), np.rot90(labels, turns)
    pasted = np.isin(copied_labels, ids[rng.random(len(ids)) < rng.uniform(0.2, 0.8)])
    opacity = ndimage.gaussian_filter(pasted.astype(np.float32), 0.7)
    before = np.bincount(labels.ravel())
    heap = np.where(pasted, copied_labels + len(before), labels).astype(np.int32)
    visible = np.bincount(heap.ravel(), minlength=len(before))[: len(before)]
    hidden = visible < 0.25 * before
    hidden[0] = False
    heap[hidden[np.where(heap < len(before), heap, 0)]] = 0
    return (image * (1 - opacity) + copied_image * opacity).astype(np.float32), heap


def _degrade(image: Float, rng: np.random.Generator) -> Float:
    """The scene as another detector and file format show it."""
    low, high = float(image.min()), float(image.max())
    grey = (image - low) / max(high - low, 1.0)
    if rng.random() < 0.15:
        grey = 1 - grey
    grey = grey ** float(np.exp(rng.normal(0, 0.3)))
    size = grey.shape[0]
    if rng.random() < 0.3:
        slope = rng.normal(0, 0.25, 2)
        line = np.linspace(-0.5, 0.5, size, dtype=np.float32)
        grey = grey + slope[0] * line[:, None] + slope[1] * line[None]
    if rng.random() < 0.3:
        grey = ndimage.gaussian_filter(grey, rng.uniform(0.3, 1.8))
    if rng.random() < 0.15:  # charging: bright streaks along the scan lines
        rows = ndimage.gaussian_filter1d(rng.normal(0, 1, size), 2)
        grey = grey + 0.15 * rows[:, None].astype(np.float32)
    if rng.random() < 0.5:
        grey = grey + rng.normal(0, rng.uniform(0.01, 0.12), grey.shape)
    if rng.random() < 0.25:
        grey = _saved_again(grey, rng)
    return grey.astype(np.float32)


def _saved_again(grey: Float, rng: np.random.Generator) -> Float:
    """A picture (S, S) that was made smaller, saved as JPEG, and enlarged again."""
    size = grey.shape[0]
    smaller = round(size * rng.uniform(0.4, 1.0))
    picture = Image.fromarray((np.clip(grey, 0, 1) * 255).astype(np.uint8))
    kinds = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    picture = picture.resize((smaller, smaller), kinds[int(rng.integers(3))])
    file = BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(30, 96)))
    picture = Image.open(file).resize((size, size), kinds[int(rng.integers(3))])
    return np.asarray(picture, np.float32) / np.float32(255)


def _annotate(
    image: Float, labels: NDArray[np.int32], rng: np.random.Generator
) -> tuple[Float, NDArray[np.int32]]:
    """Draw a data bar, or a scale bar and letters, on a quarter of the images, without labels."""
    if rng.random() > 0.25:
        return image, labels
    size, ink = image.shape[0], float(rng.choice([0.0, 1.0]))
    canvas = Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    tall, wide = int(rng.integers(12, 36)), int(rng.integers(30, max(31, size // 2)))
    left = int(rng.integers(max(1, size - wide)))
    top = int(rng.integers(max(1, size - 2 * tall)))
    labels = labels.copy()
    if rng.random() < 0.5:  # with a background, along an edge or in a box
        if rng.random() < 0.5:
            left, wide, top = 0, size, int(rng.choice([0, max(0, size - 2 * tall)]))
        draw.rectangle((left, top, left + wide, top + 2 * tall), fill=int((1 - ink) * 255))
        labels[top : top + 2 * tall + 1, left : left + wide + 1] = 0
    words = "".join(rng.choice(list("0123456789 .abkmnuxEKSV"), size=int(rng.integers(1, 14))))
    draw.text((left + 3, top + 2), words, fill=int(ink * 255), font_size=tall * 0.8)
    thick = int(rng.integers(1, 6))
    line = (left + 3, top + 1.6 * tall, left + wide * 0.7, top + 1.6 * tall + thick)
    draw.rectangle(line, fill=int(ink * 255))
    return np.asarray(canvas, np.float32) / np.float32(255), labels


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
