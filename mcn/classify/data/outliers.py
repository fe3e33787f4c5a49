"""Crops of what is no crystal: what a segmenter hands over by mistake.

A classifier that has met some of them keeps its confidence for crystals, also before things
of other kinds (outlier exposure [1]_).

References
----------
.. [1] Hendrycks et al., "Deep Anomaly Detection with Outlier Exposure", ICLR 2019.
"""

from __future__ import annotations

import string

import numpy as np
from numpy.typing import NDArray

from mcn.crystals import CROP_SIZE

Crops = NDArray[np.uint8]

_LETTERS = string.ascii_letters + string.digits + "%&+"


def outliers(crops: Crops, count: int, rng: np.random.Generator) -> Crops:
    """Crops of no crystal.

    Half of them are several crystals outlined as one: the silhouette of one crop filled with
    pieces of others. The rest are printed letters, in the grey of some crop.

    Parameters
    ----------
    crops : (N, 64, 64) uint8 array
        Crystals on black, at least one, to take silhouettes and pieces from.
    count : int
    rng : numpy.random.Generator

    Returns
    -------
    (count, 64, 64) uint8 array
        On black, as `mcn.crops.cut_crops` makes them.
    """
    several = count // 2
    return np.concatenate([_several(crops, several, rng), _letters(crops, count - several, rng)])


def _several(crops: Crops, count: int, rng: np.random.Generator) -> Crops:
    """Silhouettes divided in nine by wandering lines, each part the middle of another crop."""
    size = crops.shape[1]
    part = size // 2
    middle = slice(size // 2 - part // 2, size // 2 + part - part // 2)
    pieces = crops[rng.integers(len(crops), size=(count, 9)), middle, middle]
    cuts = np.sort(rng.uniform(0.2, 0.8, size=(2, count, 2)), axis=2) * size
    lean = rng.uniform(-0.4, 0.4, size=(2, count, 2))
    along = np.arange(size) - size / 2
    lines = cuts[..., None] + lean[..., None] * along  # (axis, count, line, place along it)
    place = np.arange(size)
    column = (place > lines[0].transpose(0, 2, 1)[..., None]).sum(axis=2)
    row = (place[:, None] > lines[1][:, :, None, :]).sum(axis=1)
    which = 3 * row + column
    number = np.arange(count)[:, None, None]
    filled = pieces[number, which, (place % part)[:, None], place % part]
    silhouettes = crops[rng.integers(len(crops), size=count)] > 0
    return np.where(silhouettes, np.maximum(filled, 1), 0).astype(np.uint8)


def _letters(crops: Crops, count: int, rng: np.random.Generator) -> Crops:
    from PIL import Image, ImageDraw

    letters = np.zeros((count, CROP_SIZE, CROP_SIZE), dtype=np.uint8)
    sizes = rng.integers(12, 60, size=count)
    words = ["".join(rng.choice(list(_LETTERS), rng.choice([1, 1, 1, 2, 3]))) for _ in sizes]
    for letter, size, word in zip(letters, sizes.tolist(), words, strict=True):
        sheet = Image.new("L", (3 * size, 2 * size))
        ImageDraw.Draw(sheet).text((0, 0), word, fill=255, font_size=size)
        glyph = sheet.crop(sheet.getbbox())
        letter[:] = np.asarray(glyph.resize((CROP_SIZE, CROP_SIZE), Image.Resampling.BILINEAR))
    inside = letters > 127
    own = crops[rng.integers(len(crops), size=count)]
    level = own.max(axis=(1, 2)).astype(np.float32)[:, None, None] * rng.uniform(
        0.6, 1, (count, 1, 1)
    )
    noisy = level + rng.normal(0, 1, letters.shape) * rng.uniform(1, 20, (count, 1, 1))
    return np.where(inside, np.clip(noisy, 1, 255), 0).astype(np.uint8)
