"""Prompts given by a person, clicks and boxes, and their checks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcn.errors import McnError

Float = NDArray[np.float32]


class PromptError(McnError):
    """Prompts that are not valid."""


@dataclass(frozen=True, eq=False)
class UserPrompts:
    """N prompts given by a person, one crystal each, in image pixels.

    Parameters
    ----------
    points : (N, P, 2) float32 array
        Clicked points x, y; P may be 0.
    labels : (N, P) int64 array
        1 on the crystal, 0 off it, -1 no point.
    boxes : (N, 4) float32 array
        Left, top, right, bottom; NaN if a prompt has no box.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)


def check_prompts(
    shape: tuple[int, ...],
    points: ArrayLike | None,
    labels: ArrayLike | None,
    boxes: ArrayLike | None,
) -> UserPrompts:
    """Check a person's prompts for an image of `shape` (H, W).

    Parameters
    ----------
    points : (N, 2) or (N, P, 2) array, optional
        One or P clicked points x, y per crystal.
    labels : (N,) or (N, P) array, optional
        1 on the crystal, 0 off it, -1 no point; by default all are on it.
    boxes : (N, 4) array, optional
        Left, top, right, bottom; NaN if a crystal has no box.

    Raises
    ------
    PromptError
        If shapes are wrong, numbers are not finite, points lie outside the image or boxes are
        empty.
    """
    if points is None and boxes is None:
        raise PromptError("no prompt: give points, boxes, or both")
    box_array = None if boxes is None else _array(boxes, "boxes")
    if points is not None:
        point_array = _array(points, "points")
    else:
        point_array = np.zeros((0 if box_array is None else len(box_array), 0, 2), np.float32)
    point_array = point_array[:, None] if point_array.ndim == 2 else point_array
    if point_array.ndim != 3 or point_array.shape[2] != 2:
        raise PromptError(
            f"points have the shape {point_array.shape}; give (N, 2) or (N, P, 2): x, y"
        )
    label_array = (
        np.ones(point_array.shape[:2], np.float32) if labels is None else _array(labels, "labels")
    )
    label_array = label_array[:, None] if label_array.ndim == 1 else label_array
    box_array = (
        np.full((len(point_array), 4), np.nan, np.float32) if box_array is None else box_array
    )
    if label_array.shape != point_array.shape[:2] or not np.isin(label_array, (-1, 0, 1)).all():
        raise PromptError("labels must be 1 (on the crystal), 0 (off it) or -1, one per point")
    if box_array.shape != (len(point_array), 4):
        raise PromptError(f"boxes have the shape {box_array.shape}; give ({len(point_array)}, 4)")
    height, width = shape
    used_points = point_array[label_array >= 0]
    if not ((used_points >= 0) & (used_points <= (width, height))).all():
        raise PromptError(f"points must lie in the image, 0 to {width} by 0 to {height} pixels")
    boxed = np.asarray(~np.isnan(box_array).any(axis=1), dtype=bool)
    left, top, right, bottom = box_array[boxed].T
    if not ((left < right) & (top < bottom)).all():
        raise PromptError("boxes must be left, top, right, bottom with left < right, top < bottom")
    if not ((right > 0) & (bottom > 0) & (left < width) & (top < height)).all():
        raise PromptError(f"boxes must overlap the image of {width} by {height} pixels")
    if not (boxed | (label_array == 1).any(axis=1)).all():
        raise PromptError("every crystal needs a box or a point on it (label 1)")
    limits = np.array([width, height, width, height], np.float32)
    box_array = np.where(boxed[:, None], np.clip(box_array, 0, limits), np.nan)
    return UserPrompts(point_array, label_array.astype(np.int64), box_array.astype(np.float32))


def _array(values: ArrayLike, name: str) -> Float:
    try:
        array: Float = np.asarray(values, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise PromptError(f"{name} must be numbers in rows of equal length") from error
    finite = np.isfinite(array) | (np.isnan(array) & (name == "boxes"))
    if array.ndim == 0 or not finite.all():
        raise PromptError(f"{name} must be an array of finite numbers")
    return array
