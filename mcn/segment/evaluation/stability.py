"""Whether the same crystals are found if a picture is cropped a little, or its seams move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcn.analyzer import Segmenter
from mcn.mask import Mask
from mcn.segment.dataset import Pair
from mcn.segment.evaluation.metrics import matches
from mcn.segment.inference.tiling import SMALLEST_WINDOW

CROP_PX = 2
SAME_IOU = 0.75
BORDER_PX = 16


def evaluate_stability(
    segmenter: Segmenter, pairs: Sequence[Pair], on_image: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Share of crystals that stay the same if a picture is cropped, or divided at other places.

    Two pixels are cropped from the left and the top; and a picture larger than the segmenter's
    smallest window is divided into such windows. A crystal stays the same if a crystal of the
    other result has an IoU of at least 0.75 with it. Only crystals whose box is 16 pixels or more
    away from the border of the cropped picture count.

    Parameters
    ----------
    segmenter : Segmenter
        The model to evaluate.
    pairs : sequence of Pair
        Images; their masks are not used.
    on_image : callable, optional
        Called after each image.

    Returns
    -------
    dict
        - `stability`: share of the crystals of the whole and of the cropped pictures that stay
          the same; None if there are none;
        - `n_stability`: number of these crystals;
        - `seam_stability`, `n_seam_stability`: the same for pictures that are divided; None and
          0 if none is, or the segmenter has no windows.
    """
    crop, seam = np.zeros(2, int), np.zeros(2, int)
    in_windows = _smallest_windows(segmenter)
    for pair in pairs:
        pixels = pair.open()[0].analysed
        (whole,) = segmenter.segment([pixels])
        (cropped,) = segmenter.segment([pixels[CROP_PX:, CROP_PX:].copy()])
        shifted = [
            Mask(
                mask.x + CROP_PX, mask.y + CROP_PX, mask.pixels, mask.predicted_iou, mask.stability
            )
            for mask in cropped
        ]
        crop += _same_crystals(whole, shifted, pixels.shape)
        if in_windows is not None and max(pixels.shape) > SMALLEST_WINDOW:
            (divided,) = in_windows.segment([pixels])
            seam += _same_crystals(whole, divided, pixels.shape)
        if on_image is not None:
            on_image()
    return {
        "stability": float(crop[0] / crop[1]) if crop[1] else None,
        "n_stability": int(crop[1]),
        "seam_stability": float(seam[0] / seam[1]) if seam[1] else None,
        "n_seam_stability": int(seam[1]),
    }


def _smallest_windows(segmenter: Segmenter) -> Segmenter | None:
    """The segmenter with its smallest windows; None if it has none."""
    smallest: Segmenter | None = None
    smaller: Any = segmenter
    while smaller := getattr(smaller, "in_smaller_windows", lambda: None)():
        smallest = smaller
    return smallest


def _same_crystals(
    first: Sequence[Mask], second: Sequence[Mask], shape: tuple[int, int]
) -> NDArray[np.int_]:
    """Number of crystals of both results that are in the other too, and of all."""
    in_first, in_second, _ = matches(first, second, shape, SAME_IOU)
    same = total = 0
    for masks, kept in ((first, set(in_first.tolist())), (second, set(in_second.tolist()))):
        inner = [i for i, mask in enumerate(masks) if _is_inside(mask, *shape)]
        total += len(inner)
        same += len(kept.intersection(inner))
    return np.array([same, total])


def _is_inside(mask: Mask, height: int, width: int) -> bool:
    h, w = mask.pixels.shape
    margin = BORDER_PX + CROP_PX
    return (
        mask.x >= margin
        and mask.y >= margin
        and mask.x + w <= width - BORDER_PX
        and mask.y + h <= height - BORDER_PX
    )
