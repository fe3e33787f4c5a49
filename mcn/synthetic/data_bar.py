"""The strip of text that a microscope writes below its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PRINT_UM = 127_000.0
"""Width of the print that a magnification refers to, in micrometres (a 5-inch Polaroid)."""

_STYLES = ((0, 255), (0, 255), (255, 0), (40, 230), (228, 20))
"""Grey levels of the ground and of the text."""

_FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf")


def bar_height(height: int) -> int:
    """Rows that a data bar takes of a picture of a height, in pixels."""
    return max(round(0.065 * height), 18)


def draw_data_bar(
    height: int, width: int, pixel_size_um: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A data bar with voltage, magnification, working distance and a scale bar.

    Parameters
    ----------
    height, width : int
        Size of the bar in pixels.
    pixel_size_um : float
        Side of a pixel of the picture above, which the scale bar must agree with.
    rng : numpy.random.Generator
        Where style and settings are drawn from.

    Returns
    -------
    (height, width) uint8 array
    """
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    ground, ink = _STYLES[rng.integers(len(_STYLES))]
    bar = Image.new("L", (width, height), ground)
    pen = ImageDraw.Draw(bar)
    field_um = width * pixel_size_um
    length_um = _round_length(field_um * rng.uniform(0.14, 0.22))
    length_px = length_um / pixel_size_um
    label = f"{length_um:g} µm" if length_um >= 1 else f"{length_um * 1000:g} nm"
    items = [
        f"HV {rng.choice([5, 10, 15, 20]):.2f} kV",
        f"mag {f'{PRINT_UM / field_um:,.0f}'.replace(',', ' ')}x",
        f"WD {rng.uniform(4.0, 12.0):.1f} mm",
        f"HFW {field_um:.1f} µm",
        f"det {rng.choice(['ETD', 'SE2', 'TLD', 'InLens'])}",
    ]
    # Pillow's own font has no µ.
    face = Path(matplotlib.get_data_path(), "fonts", "ttf", str(rng.choice(_FONTS)))
    font = ImageFont.truetype(face, size=0.38 * height)
    gap = 0.6 * height
    right = width - 0.5 * height
    left = right - length_px
    middle = 0.5 * height
    pen.text((0.5 * (left + right), middle), label, fill=ink, font=font, anchor="mm")
    half_label = 0.5 * pen.textlength(label, font=font) + 0.15 * height
    for start, end, tick in (
        (left, 0.5 * (left + right) - half_label, left),
        (right, 0.5 * (left + right) + half_label, right),
    ):
        if abs(end - start) > 2 and (end > start) == (start == left):
            pen.line([start, middle, end, middle], fill=ink, width=1)
        pen.line([tick, 0.25 * height, tick, 0.75 * height], fill=ink, width=1)
    x = 0.4 * height
    for item in items:
        reach = x + pen.textlength(item, font=font)
        if reach > min(left, 0.5 * (left + right) - half_label) - 0.3 * height:
            break
        pen.text((x, middle), item, fill=ink, font=font, anchor="lm")
        x = reach + gap
    pixels = np.array(bar)
    if rng.random() < 0.5:
        pixels[0] = ink
    return pixels


def _round_length(length_um: float) -> float:
    """The nearest lower 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(length_um))
    return float(next(step * power for step in (5.0, 2.0, 1.0) if step * power <= length_um))
