"""Crops without a crystal, as a segmenter cuts them out by mistake.

A classifier that is trained with outliers is less confident about other things that are not
crystals, too (outlier exposure [1]_).

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
    """Make crops without a crystal.

    Half of them show several crystals in one outline: the silhouette of one crop filled with
    parts of others. The rest are printed letters, as bright as a crop.

    Parameters
    ----------
    crops : (N, 64, 64) uint8 array
        At least one crystal on black; gives silhouettes and parts.
    count : int
    rng : numpy.random.Generator

    Returns
    -------
    (count, 64, 64) uint8 array
        On black, as from `mcn.crops.cut_crops`.
    """
    merged = count // 2
    return np.concatenate(
        [_merged_crystals(crops, merged, rng), _letters(crops, count - merged, rng)]
    )


def _merged_crystals(crops: Crops, count: int, rng: np.random.Generator) -> Crops:
    """Silhouettes divided into nine parts by oblique lines; each part is the centre of a crop."""
    size = crops.shape[1]
    part = size // 2
    middle = slice(size // 2 - part // 2, size // 2 + part - part // 2)
    pieces = crops[rng.integers(len(crops), size=(count, 9)), middle, middle]
    cuts = np.sort(rng.uniform(0.2, 0.8, size=(2, count, 2)), axis=2) * size
    lean = rng.uniform(-0.4, 0.4, size=(2, count, 2))
    along = np.arange(size) - size / 2
    lines = cuts[..., None] + lean[..., None] * along  # (axis, count, line, position along it)
    position = np.arange(size)
    column = (position > lines[0].transpose(0, 2, 1)[..., None]).sum(axis=2)
    row = (position[:, None] > lines[1][:, :, None, :]).sum(axis=1)
    piece = 3 * row + column
    number = np.arange(count)[:, None, None]
    filled = pieces[number, piece, (position % part)[:, None], position % part]
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
    sources = crops[rng.integers(len(crops), size=count)]
    level = sources.max(axis=(1, 2)).astype(np.float32)[:, None, None] * rng.uniform(
        0.6, 1, (count, 1, 1)
    )
    noisy = level + rng.normal(0, 1, letters.shape) * rng.uniform(1, 20, (count, 1, 1))
    return np.where(inside, np.clip(noisy, 1, 255), 0).astype(np.uint8)
