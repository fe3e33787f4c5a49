"""The strip of text that a microscope writes below its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

PRINT_UM = 127_000.0
"""Width of the print that a magnification refers to, a 5-inch Polaroid, in micrometres."""

_STYLES = ((0, 255), (0, 255), (255, 0), (40, 230), (228, 20))
"""Grey levels of the background and of the text."""

_FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf")


def bar_height(height: int) -> int:
    """Rows of the data bar of a picture that is `height` pixels high."""
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
        Pixel size of the picture above, which sets the scale bar.
    rng : numpy.random.Generator
        Random generator for the style and the settings.

    Returns
    -------
    (height, width) uint8 array
    """
    import matplotlib

    background, ink = _STYLES[rng.integers(len(_STYLES))]
    bar = Image.new("L", (width, height), background)
    pen = ImageDraw.Draw(bar)
    field_um = width * pixel_size_um
    length_um = _round_length(field_um * rng.uniform(0.14, 0.22))
    texts = _settings_texts(field_um, rng)
    # Pillow's default font has no µ.
    face = Path(matplotlib.get_data_path(), "fonts", "ttf", str(rng.choice(_FONTS)))
    font = ImageFont.truetype(face, size=0.38 * height)
    right = width - 0.5 * height
    left = right - length_um / pixel_size_um
    label = f"{length_um:g} µm" if length_um >= 1 else f"{length_um * 1000:g} nm"
    label_left = _draw_scale_bar(pen, left, right, height, label, font, ink)
    _draw_texts(pen, texts, min(left, label_left), height, font, ink)
    pixels = np.array(bar)
    if rng.random() < 0.5:
        pixels[0] = ink
    return pixels


def _settings_texts(field_um: float, rng: np.random.Generator) -> list[str]:
    """Random settings of a microscope for a picture that is `field_um` wide."""
    return [
        f"HV {rng.choice([5, 10, 15, 20]):.2f} kV",
        f"mag {f'{PRINT_UM / field_um:,.0f}'.replace(',', ' ')}x",
        f"WD {rng.uniform(4.0, 12.0):.1f} mm",
        f"HFW {field_um:.1f} µm",
        f"det {rng.choice(['ETD', 'SE2', 'TLD', 'InLens'])}",
    ]


def _draw_scale_bar(
    pen: ImageDraw.ImageDraw,
    left: float,
    right: float,
    height: int,
    label: str,
    font: ImageFont.FreeTypeFont,
    ink: int,
) -> float:
    """Draw a scale bar with its label in the middle; returns the label's left end."""
    centre, middle = 0.5 * (left + right), 0.5 * height
    pen.text((centre, middle), label, fill=ink, font=font, anchor="mm")
    half_label = 0.5 * pen.textlength(label, font=font) + 0.15 * height
    for start, end, tick in (
        (left, centre - half_label, left),
        (right, centre + half_label, right),
    ):
        if abs(end - start) > 2 and (end > start) == (start == left):
            pen.line([start, middle, end, middle], fill=ink, width=1)
        pen.line([tick, 0.25 * height, tick, 0.75 * height], fill=ink, width=1)
    return centre - half_label


def _draw_texts(
    pen: ImageDraw.ImageDraw,
    texts: list[str],
    limit: float,
    height: int,
    font: ImageFont.FreeTypeFont,
    ink: int,
) -> None:
    """Draw texts side by side, from the left, as many as fit before `limit`."""
    x = 0.4 * height
    for text in texts:
        end = x + pen.textlength(text, font=font)
        if end > limit - 0.3 * height:
            break
        pen.text((x, 0.5 * height), text, fill=ink, font=font, anchor="lm")
        x = end + 0.6 * height


def _round_length(length_um: float) -> float:
    """The next lower 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(length_um))
    return float(next(step * power for step in (5.0, 2.0, 1.0) if step * power <= length_um))
