"""Augmentation of training images: crops, heaps, and what detectors and file formats do."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Float = NDArray[np.float32]


def crop(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int32],
    size: int,
    zoom_range: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[Float, NDArray[np.int32]]:
    """A crop of size×size pixels at a random position and magnification, flipped and rotated."""
    low, high = zoom_range
    low = max(low, size / min(pixels.shape))
    area = np.bincount(labels.ravel())[1:]
    if area.any():  # crystals must be large enough to see and small enough to fit
        across = np.sqrt(area[area > 0])
        low = max(low, min(9.0 / float(np.median(across)), 1.0))
        high = min(high, 0.6 * size / float(np.sqrt((across**2).mean())))
    zoom = float(np.exp(rng.uniform(np.log(low), np.log(max(high, low)))))
    side = min(round(size / zoom), *pixels.shape)
    y = rng.integers(pixels.shape[0] - side + 1)
    x = rng.integers(pixels.shape[1] - side + 1)
    steps = (np.arange(size) + 0.5) * side / size
    nearest = np.minimum(steps.astype(int), side - 1)
    cut = pixels[y : y + side, x : x + side].astype(np.float32)
    if side > size:  # smoothed before it is subsampled
        cut = ndimage.gaussian_filter(cut, 0.4 * side / size)
    image = ndimage.map_coordinates(
        cut, np.meshgrid(steps - 0.5, steps - 0.5, indexing="ij"), order=1, mode="nearest"
    )
    crop_labels = labels[y : y + side, x : x + side][np.ix_(nearest, nearest)]
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    image, crop_labels = np.rot90(image, turns), np.rot90(crop_labels, turns)
    if flip:
        image, crop_labels = image[:, ::-1], crop_labels[:, ::-1]
    return image.astype(np.float32), np.ascontiguousarray(crop_labels)


def heap_up(
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


def degrade(image: Float, rng: np.random.Generator) -> Float:
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
        grey = _saved_again(grey.astype(np.float32), rng)
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


def annotate(
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
