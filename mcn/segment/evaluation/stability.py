"""Whether the same crystals are found if the picture is cropped a little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mcn.analyzer import Segmenter
from mcn.mask import Mask
from mcn.segment.dataset import Pair
from mcn.segment.evaluation.metrics import matches

CROP_PX = 2
SAME_IOU = 0.75
BORDER_PX = 16


def evaluate_stability(
    segmenter: Segmenter, pairs: Sequence[Pair], on_image: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Share of crystals that stay the same if two pixels are cropped from the left and the top.

    A crystal stays the same if a crystal of the cropped picture has an IoU of at least 0.75 with
    it. Only crystals whose box is 16 pixels or more away from the border of the cropped picture
    count.

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
        - `n_stability`: number of these crystals.
    """
    same = total = 0
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
        height, width = pixels.shape
        first, second, _ = matches(whole, shifted, (height, width), SAME_IOU)
        for masks, kept in ((whole, set(first.tolist())), (shifted, set(second.tolist()))):
            inner = [i for i, mask in enumerate(masks) if _is_inside(mask, height, width)]
            total += len(inner)
            same += len(kept.intersection(inner))
        if on_image is not None:
            on_image()
    return {"stability": same / total if total else None, "n_stability": total}


def _is_inside(mask: Mask, height: int, width: int) -> bool:
    h, w = mask.pixels.shape
    margin = BORDER_PX + CROP_PX
    return (
        mask.x >= margin
        and mask.y >= margin
        and mask.x + w <= width - BORDER_PX
        and mask.y + h <= height - BORDER_PX
    )
