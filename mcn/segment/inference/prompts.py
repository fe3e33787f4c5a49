"""What a person points at: clicks and boxes, checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcn.errors import McnError

Float = NDArray[np.float32]


class PromptError(McnError):
    """Clicks or boxes that cannot be meant."""


@dataclass(frozen=True, eq=False)
class Clicks:
    """N prompts of a person, one crystal each, in image pixels.

    Parameters
    ----------
    points : (N, P, 2) float32 array
        Clicked points x, y; P may be 0.
    labels : (N, P) int64 array
        1 on the crystal, 0 off it, -1 no point.
    boxes : (N, 4) float32 array
        Left, top, right, bottom; NaN where a prompt has no box.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)


def read_clicks(
    shape: tuple[int, ...],
    points: ArrayLike | None,
    labels: ArrayLike | None,
    boxes: ArrayLike | None,
) -> Clicks:
    """Check what a person pointed at in an image of `shape` (H, W).

    Parameters
    ----------
    points : (N, 2) or (N, P, 2) array, optional
        One or P clicked points x, y a crystal.
    labels : (N,) or (N, P) array, optional
        1 on the crystal, 0 off it, -1 no point; all on it if not given.
    boxes : (N, 4) array, optional
        Left, top, right, bottom; NaN where a crystal has no box.

    Raises
    ------
    PromptError
        Wrong shapes, numbers that are not finite, places outside the image, empty boxes.
    """
    if points is None and boxes is None:
        raise PromptError("no prompt: give points, boxes, or both")
    around = None if boxes is None else _array(boxes, "boxes")
    if points is not None:
        where = _array(points, "points")
    else:
        where = np.zeros((0 if around is None else len(around), 0, 2), np.float32)
    where = where[:, None] if where.ndim == 2 else where
    if where.ndim != 3 or where.shape[2] != 2:
        raise PromptError(f"points have the shape {where.shape}; give (N, 2) or (N, P, 2): x, y")
    on = np.ones(where.shape[:2], np.float32) if labels is None else _array(labels, "labels")
    on = on[:, None] if on.ndim == 1 else on
    around = np.full((len(where), 4), np.nan, np.float32) if around is None else around
    if on.shape != where.shape[:2] or not np.isin(on, (-1, 0, 1)).all():
        raise PromptError("labels must be 1 (on the crystal), 0 (off it) or -1, one a point")
    if around.shape != (len(where), 4):
        raise PromptError(f"boxes have the shape {around.shape}; give ({len(where)}, 4)")
    height, width = shape
    used = where[on >= 0]
    if not ((used >= 0) & (used <= (width, height))).all():
        raise PromptError(f"points must lie in the image, 0 to {width} by 0 to {height} pixels")
    boxed = np.asarray(~np.isnan(around).any(axis=1), dtype=bool)
    left, top, right, bottom = around[boxed].T
    if not ((left < right) & (top < bottom)).all():
        raise PromptError("boxes must be left, top, right, bottom with left < right, top < bottom")
    if not ((right > 0) & (bottom > 0) & (left < width) & (top < height)).all():
        raise PromptError(f"boxes must meet the image of {width} by {height} pixels")
    if not (boxed | (on == 1).any(axis=1)).all():
        raise PromptError("every crystal needs a box or a point on it (label 1)")
    limits = np.array([width, height, width, height], np.float32)
    around = np.where(boxed[:, None], np.clip(around, 0, limits), np.nan)
    return Clicks(where, on.astype(np.int64), around.astype(np.float32))


def _array(values: ArrayLike, what: str) -> Float:
    try:
        array: Float = np.asarray(values, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise PromptError(f"{what} must be numbers in rows of equal length") from error
    finite = np.isfinite(array) | (np.isnan(array) & (what == "boxes"))
    if array.ndim == 0 or not finite.all():
        raise PromptError(f"{what} must be an array of finite numbers")
    return array
