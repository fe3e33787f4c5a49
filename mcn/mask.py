"""The pixels of one crystal, and their COCO run-length code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

_NOT_A_CODE: Final = "counts are not a compressed run-length code"
_MOST_DIGITS: Final = 8
"""Of a number: 40 bits, so that sums of millions of them fit into 64."""


class RLE(TypedDict):
    """COCO compressed run-length code: `size` is [height, width] of the image."""

    size: list[int]
    counts: str


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """The pixels of one crystal, stored as the tight box around them.

    Parameters
    ----------
    x, y : int
        Left column and top row of the box in the image, in pixels.
    pixels : (h, w) bool array
        True on the crystal; every border row and column holds at least one True.
    predicted_iou : float
        The segmenter's estimate of the mask's intersection over union, 0 to 1.
    stability : float
        Intersection over union of the masks at a raised and a lowered threshold, 0 to 1.
    """

    x: int
    y: int
    pixels: NDArray[np.bool_]
    predicted_iou: float = 1.0
    stability: float = 1.0


def masks_from_labels(labels: NDArray[np.integer]) -> list[Mask]:
    """Masks of an instance-label image, in label order.

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

    Only the boxes are read, so that the cost depends on the crystals, not on the image.
    """
    codes = [
        {"size": [height, width], "counts": counts}
        for counts in _runs_in_image(masks, height, width)
    ]
    if not codes:
        return []
    return [
        {"size": [height, width], "counts": code["counts"].decode("ascii")}
        for code in coco.frPyObjects(codes, height, width)
    ]


def decode_rle(rle: RLE) -> Mask:
    """The mask of a COCO compressed run-length code (see `decode_rles`)."""
    return decode_rles([rle])[0]


def decode_rles(rles: Sequence[RLE]) -> list[Mask]:
    """Masks of COCO compressed run-length codes; an empty code gives a 0×0 mask.

    Only the columns of a crystal are filled: the decoder of pycocotools fills an image for
    each crystal, which takes at least ten times as long.

    Raises
    ------
    ValueError
        If a code is malformed, or has more or fewer pixels than an image of its size.
    """
    lengths, first = _run_lengths([rle["counts"] for rle in rles])
    return [
        _mask_of_runs(lengths[begin:end], *rle["size"])
        for rle, begin, end in zip(rles, first.tolist(), first[1:].tolist(), strict=False)
    ]


def _mask_of_runs(lengths: NDArray[np.int64], height: int, width: int) -> Mask:
    ends = lengths.cumsum()
    # Each run has at most the image's pixels, so that their sum cannot overflow.
    if len(ends) and (lengths.min() < 0 or lengths.max() > height * width):
        raise ValueError(_NOT_A_CODE)
    if len(ends) and ends[-1] != height * width:
        raise ValueError(f"{_NOT_A_CODE} of {height}×{width} pixels")
    on = lengths[1::2].nonzero()[0]
    if not len(on):
        return Mask(0, 0, np.zeros((0, 0), dtype=bool))
    turns = ends[2 * on[0] : 2 * on[-1] + 2]
    x, right = int(turns[0]) // height, (int(turns[-1]) - 1) // height + 1
    # Runs alternate between off and on, from the top of the first column to the bottom of the
    # last.
    edges = np.zeros(len(turns) + 2, dtype=np.int64)
    edges[1:-1] = turns - x * height
    edges[-1] = (right - x) * height
    is_on = np.zeros(len(edges) - 1, dtype=bool)
    is_on[1::2] = True
    columns = is_on.repeat(edges[1:] - edges[:-1]).reshape(right - x, height)
    rows = np.flatnonzero(columns.any(axis=0))
    y, bottom = int(rows[0]), int(rows[-1]) + 1
    return Mask(x, y, np.ascontiguousarray(columns[:, y:bottom].T))


def _run_lengths(codes: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Lengths of alternate runs of off and on pixels, column by column, of all codes.

    Each character has five bits, the lowest first, and a sixth that is set if more follow
    [1]_; from the fourth run on, a number is the difference from the run two before it.

    Returns
    -------
    lengths : (R,) int array
    first : (N + 1,) int array
        Code n has the runs from first[n] to first[n + 1].

    References
    ----------
    .. [1] `rleFrString` in the COCO API, github.com/cocodataset/cocoapi.
    """
    try:
        text = "".join(codes).encode("ascii")
    except UnicodeEncodeError:
        raise ValueError(_NOT_A_CODE) from None
    characters = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if len(characters) and not 0 <= characters.min() <= characters.max() < 64:
        raise ValueError(_NOT_A_CODE)
    is_last = (characters & 0x20) == 0
    of_code = np.cumsum([0, *map(len, codes)])
    first = np.concatenate([[0], is_last.cumsum()])[of_code]
    if not len(characters):
        return characters, first
    ends = of_code[1:][np.diff(of_code) > 0] - 1
    if not is_last[ends].all():
        raise ValueError(_NOT_A_CODE)
    head = np.flatnonzero(np.concatenate([[True], is_last[:-1]]))
    digit = np.arange(len(characters)) - head.repeat(np.diff(head, append=len(characters)))
    if digit.max() >= _MOST_DIGITS:
        raise ValueError(_NOT_A_CODE)
    lengths = np.add.reduceat((characters & 0x1F) << (5 * digit), head)
    is_negative = (characters[is_last] & 0x10) != 0
    lengths -= is_negative.astype(np.int64) << (5 * digit[is_last] + 5)
    # Sums along every other run of a code: the odd ones, and the even ones except the first.
    code = np.arange(len(codes)).repeat(np.diff(first))
    run = np.arange(len(lengths)) - first[code]
    order = np.lexsort([run, run % 2, code])
    start = (run[order] < 3).nonzero()[0]
    sums = np.concatenate([[0], lengths[order].cumsum()])
    lengths[order] = sums[1:] - sums[start].repeat(np.diff(start, append=len(order)))
    return lengths, first


def _runs_in_image(masks: Sequence[Mask], height: int, width: int) -> list[list[int]]:
    """Column-major run lengths of each mask in the whole image, from the boxes alone."""
    if not masks:
        return []
    boxes = np.array([(m.x, m.y, *m.pixels.shape) for m in masks], dtype=np.int64)
    x, y, h, w = boxes.T
    # A False before each column and at the end of each mask: starts and ends of runs
    # alternate, and no run continues from one mask to the next.
    length = w * (h + 1) + 1
    first = np.cumsum(length) - length
    cells = np.zeros(int(length.sum()), dtype=bool)
    for mask, start, end in zip(masks, first.tolist(), (first + length).tolist(), strict=True):
        rows, columns = mask.pixels.shape
        cells[start : end - 1].reshape(columns, rows + 1)[:, 1:] = mask.pixels.T
    turns = np.flatnonzero(cells[1:] != cells[:-1]) + 1
    owner = np.searchsorted(first, turns[::2], side="right") - 1

    def positions(cell: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index in the image, column by column, of cells of the masks `owner`."""
        column, row = np.divmod(cell - first[owner], h[owner] + 1)
        return np.asarray((x[owner] + column) * height + y[owner] + row - 1)

    begin, end = positions(turns[::2]), positions(turns[1::2] - 1) + 1
    # A run that ends at the bottom of a column may continue at the top of the next.
    continues = (end[:-1] == begin[1:]) & (owner[:-1] == owner[1:])
    is_begin, is_end = np.ones(len(begin), dtype=bool), np.ones(len(end), dtype=bool)
    is_begin[1:], is_end[:-1] = ~continues, ~continues
    n_edges = 2 * np.bincount(owner[is_begin], minlength=len(masks))
    edges = np.column_stack([begin[is_begin], end[is_end]]).ravel()
    # The end of one image and the start of the next lie between the edges of two masks.
    edges = np.insert(edges, np.cumsum(n_edges), height * width)
    ends = np.cumsum(n_edges + 1)
    counts = np.diff(edges, prepend=0)
    counts[ends[:-1]] = edges[ends[:-1]]
    runs = counts.tolist()
    parts = zip((ends - n_edges - 1).tolist(), ends.tolist(), strict=True)
    return [runs[start : end if runs[end - 1] else end - 1] for start, end in parts]
