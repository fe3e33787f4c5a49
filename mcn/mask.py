"""The pixels of one crystal, and their COCO run-length code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco


class RLE(TypedDict):
    """COCO compressed run-length code: `size` is [height, width] of the image."""

    size: list[int]
    counts: str


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """The pixels of one crystal, kept as the tight box around them.

    Parameters
    ----------
    x, y : int
        Left column and top row of the box in the image, in pixels.
    pixels : (h, w) bool array
        True on the crystal; every border row and column holds at least one True.
    predicted_iou : float
        The segmenter's own estimate of the mask's intersection over union, 0 to 1.
    stability : float
        Intersection over union of the masks at a raised and a lowered threshold, 0 to 1.
    """

    x: int
    y: int
    pixels: NDArray[np.bool_]
    predicted_iou: float = 1.0
    stability: float = 1.0


def masks_from_labels(labels: NDArray[np.integer]) -> list[Mask]:
    """Masks of an instance-label image, in order of label.

    Parameters
    ----------
    labels : (H, W) integer array
        0 is the background, any other value one crystal.
    """
    from scipy import ndimage

    masks = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            masks.append(Mask(box[1].start, box[0].start, labels[box] == label))
    return masks


def encode_rle(masks: Sequence[Mask], height: int, width: int) -> list[RLE]:
    """COCO compressed run-length codes of masks within an image of (height, width).

    Only the boxes are visited, so the cost follows the crystals, not the image.
    """
    codes = [_uncompressed(mask, height, width) for mask in masks]
    if not codes:
        return []
    return [
        {"size": [height, width], "counts": code["counts"].decode("ascii")}
        for code in coco.frPyObjects(codes, height, width)
    ]


def decode_rle(rle: RLE) -> Mask:
    """The mask of a COCO compressed run-length code; an empty code gives a 0×0 mask.

    Only the columns of the crystal are visited: the package's own decoder fills an image, which
    takes 20 times as long.

    Raises
    ------
    ValueError
        Where the runs are more than an image of the code's size has pixels.
    """
    height, width = rle["size"]
    ends = np.cumsum(_run_lengths(rle["counts"]))
    if (ends > height * width).any() or (np.diff(ends, prepend=0) < 0).any():
        raise ValueError(f"a run-length code of more than {height}×{width} pixels")
    on = ends[: ends.size // 2 * 2].reshape(-1, 2)
    on = on[on[:, 1] > on[:, 0]]
    if not len(on):
        return Mask(0, 0, np.zeros((0, 0), dtype=bool))
    x, right = int(on[0, 0]) // height, (int(on[-1, 1]) - 1) // height + 1
    edges = np.concatenate([[0], on.ravel() - x * height, [(right - x) * height]])
    is_on = np.arange(edges.size - 1) % 2 == 1
    columns = np.repeat(is_on, np.diff(edges)).reshape(right - x, height)
    rows = np.flatnonzero(columns.any(axis=0))
    y, bottom = int(rows[0]), int(rows[-1]) + 1
    return Mask(x, y, np.ascontiguousarray(columns[:, y:bottom].T))


def _run_lengths(counts: str) -> NDArray[np.int64]:
    """Runs of off and on pixels in turn, column by column.

    Five bits a character, the lowest first, the sixth saying that more follow [1]_; from the
    fourth run on the difference from the run two before it.

    References
    ----------
    .. [1] `rleFrString` in the COCO API, github.com/cocodataset/cocoapi.
    """
    codes = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    is_last = (codes & 0x20) == 0
    first = np.flatnonzero(np.concatenate([[True], is_last[:-1]]))
    digit = np.arange(codes.size) - np.repeat(first, np.diff(first, append=codes.size))
    values = np.add.reduceat((codes & 0x1F) << 5 * digit, first) if codes.size else codes
    if codes.size:
        last = codes[is_last]
        values -= np.where(last & 0x10, 1 << 5 * (digit[is_last] + 1), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _uncompressed(mask: Mask, height: int, width: int) -> dict[str, list[int]]:
    """Column-major run lengths in the whole image, from the box alone."""
    h, w = mask.pixels.shape
    # Each column after a False of its own, and one more at the end: runs start and end in turn.
    columns = np.zeros(w * (h + 1) + 1, dtype=bool)
    columns[:-1].reshape(w, h + 1)[:, 1:] = mask.pixels.T
    turns = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    turns[1::2] -= 1  # the last pixel of the run
    edges = (mask.x + turns // (h + 1)) * height + mask.y + turns % (h + 1) - 1
    edges[1::2] += 1
    # A run that ends at the bottom of one column may go on at the top of the next.
    joined = np.flatnonzero(edges[1:-1:2] == edges[2::2])
    edges = np.delete(edges, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    counts = np.diff(np.concatenate([[0], edges, [height * width]])).tolist()
    return {"size": [height, width], "counts": counts if counts[-1] else counts[:-1]}
