"""Picture files in memory, for tests of reading."""

from __future__ import annotations

import io

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

RNG = np.random.default_rng(7)
GREY = np.clip(np.cumsum(RNG.normal(0, 8, (60, 90)), axis=1) + 120, 0, 255).astype(np.uint8)
RGB = np.dstack([GREY, GREY, GREY])


def tiff(*pages: NDArray[np.generic], **options: object) -> bytes:
    """A TIFF file with the given pages and no description."""
    file = io.BytesIO()
    of_file = {name: options.pop(name) for name in ("bigtiff", "byteorder") if name in options}
    with tifffile.TiffWriter(file, **of_file) as writer:  # type: ignore[arg-type]
        for page in pages:
            writer.write(page, **{"metadata": None, **options})  # type: ignore[arg-type]
    return file.getvalue()


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as written by Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def flat_tiff(width: int, height: int = 8, **options: object) -> bytes:
    """A TIFF file of a single grey."""
    return tiff(np.full((height, width), 90, dtype=np.uint8), **options)


def with_bar(height: int = 384, width: int = 512) -> NDArray[np.uint8]:
    """A specimen with a data bar of 36 rows below it."""
    rng = np.random.default_rng(3)
    waves = np.cumsum(np.cumsum(rng.normal(0, 1, (height, width)), axis=0), axis=1)
    picture = 120 + 60 * waves / np.abs(waves).max() + rng.normal(0, 12, waves.shape)
    bar = Image.new("L", (width, 36), 0)
    pen = ImageDraw.Draw(bar)
    text = "15.0 kV  x5,000  WD 8.6 mm  SE  HFW 20.4 um"
    pen.text((6, 8), text, fill=255, font=ImageFont.load_default(size=16))
    return np.vstack([picture.clip(0, 255).astype(np.uint8)[:-36], np.asarray(bar)])
