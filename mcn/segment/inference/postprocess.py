"""From overlapping candidates to disjoint masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mcn.mask import Mask
from mcn.segment.inference.candidates import Candidates, GeneratorSettings
from mcn.segment.modeling.number_format import full_precision

_GRAIN = 16
"""Masks are upsampled together if their sides are the same multiple of this."""
_PIXELS_AT_ONCE = 2**21
_PIXELS_PER_BATCH = 2**24
_NEIGHBOUR = 0.18
"""Weight of the next logit on either side in the smoothed one."""
_SURE = 6.0
_SMALL = 0.25
"""Share of a mask's area below which another on it is small."""
_CROWD = 4
"""Number of small masks on a large one that make it ground."""
_AS_SURE = 0.6
"""Minimum mean score of these, as a share of the large one's."""
_CONNECTIVITY = ndimage.generate_binary_structure(2, 1)


def suppress_overlaps(
    candidates: Candidates, image: int, shape: tuple[int, ...], settings: GeneratorSettings
) -> list[Mask]:
    """Assign each pixel to the best mask that covers it, and drop duplicates and ground.

    Returns
    -------
    list of Mask
        Each is connected; `predicted_iou` carries the score that ranks them.
    """
    index = torch.nonzero(candidates.image_index == image)[:, 0]
    index = index[candidates.scores[index].argsort(descending=True, stable=True)]
    scores, stability = candidates.scores[index].tolist(), candidates.stability[index].tolist()
    claims = (
        claim
        for part in index.split(upsampling_batches(candidates.windows[index], shape))
        for claim in full_size(candidates.logits[part], candidates.windows[part], *shape)
    )
    owner = np.zeros(shape, np.int32)
    kept: list[_Claim] = []
    hidden: dict[int, list[_Claim]] = {}
    for (x, y, pixels), score, mask_stability in zip(claims, scores, stability, strict=True):
        claim = _Claim(x, y, pixels, score, mask_stability)
        if claim.add(owner, len(kept) + 1, settings):
            kept.append(claim)
        elif hider := claim.hider(owner, settings):
            hidden.setdefault(hider, []).append(claim)
    for number, claims_below in hidden.items():
        ground = kept[number - 1]
        small = [claim for claim in claims_below if claim.area < _SMALL * ground.area]
        if len(small) >= _CROWD:
            kept += _reveal(owner, ground, number, small, len(kept), settings)
    masks = [claim.mask(owner, number, settings) for number, claim in enumerate(kept, 1)]
    return sorted((mask for mask in masks if mask), key=lambda mask: (mask.y, mask.x))


@dataclass(frozen=True, eq=False)
class _Claim:
    """The pixels of a candidate in a box at column x and row y, and its scores."""

    x: int
    y: int
    pixels: NDArray[np.bool_]
    score: float
    stability: float

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.pixels))

    def view(self, owner: NDArray[np.int32]) -> NDArray[np.int32]:
        height, width = self.pixels.shape
        return owner[self.y : self.y + height, self.x : self.x + width]

    def add(self, owner: NDArray[np.int32], number: int, settings: GeneratorSettings) -> bool:
        """Take the free pixels, unless too few are free."""
        view = self.view(owner)
        free = self.pixels & (view == 0)
        area = np.count_nonzero(free)
        if area < max(1, settings.min_area_px, (1 - settings.max_overlap) * self.area):
            return False
        view[free] = number
        return True

    def hider(self, owner: NDArray[np.int32], settings: GeneratorSettings) -> int:
        """Number of the claim that has most of the pixels; 0 if none has."""
        if self.area < settings.min_area_px:
            return 0
        counts = np.bincount(self.view(owner)[self.pixels])
        counts[0] = 0
        number = int(counts.argmax())
        return number if counts[number] > settings.max_overlap * self.area else 0

    def mask(
        self, owner: NDArray[np.int32], number: int, settings: GeneratorSettings
    ) -> Mask | None:
        """The largest connected component of the pixels taken; None if it is too small."""
        component = _largest_component(self.view(owner) == number)
        if np.count_nonzero(component) < max(1, settings.min_area_px):
            return None
        return tight(self.x, self.y, component, self.score, self.stability)


def _reveal(
    owner: NDArray[np.int32],
    ground: _Claim,
    number: int,
    small: list[_Claim],
    count: int,
    settings: GeneratorSettings,
) -> list[_Claim]:
    """The small claims that a large one hides, if they are a crowd that is about as sure.

    The large one is then ground that shows between crystals, and loses its pixels to them.

    Parameters
    ----------
    small : list of _Claim
        By descending score.
    count : int
        Number of claims so far.
    """
    view = ground.view(owner)
    before = view.copy()
    view[view == number] = 0
    revealed: list[_Claim] = []
    for claim in small:
        if claim.add(owner, count + len(revealed) + 1, settings):
            revealed.append(claim)
    sure = sum(claim.score for claim in revealed) >= _AS_SURE * ground.score * len(revealed)
    if len(revealed) >= _CROWD and sure:
        return revealed
    for claim in revealed:
        part = claim.view(owner)
        part[part > count] = 0
    view[:] = before
    return []


def full_size(
    logits: Tensor, windows: Tensor, height: int, width: int
) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """Masks at the resolution of their image, upsampled only where they can lie.

    Parameters
    ----------
    logits : (N, T, T) tensor
        Mask logits over each window.
    windows : (N, 4) float tensor
        Left, top, right, bottom, pixels; they may reach outside the image.
    height, width : int
        Of the image.

    Returns
    -------
    list of (x, y, (h, w) bool array)
        Left column, top row and pixels of a box around the mask, within the image and the
        window; 0×0 if the mask is empty.
    """
    inside = logits > 0
    left, right = _reach(inside.any(dim=1), windows[:, 0], windows[:, 2], width)
    top, bottom = _reach(inside.any(dim=2), windows[:, 1], windows[:, 3], height)
    boxes = torch.stack([left, top, right - left, bottom - top], dim=1).long()
    empty = (boxes[:, 2:] <= 0).any(dim=1)
    sizes = -(-boxes[:, 2:] // _GRAIN) * _GRAIN
    sizes[empty] = 0
    box_list, claims = boxes.tolist(), [(0, 0, np.zeros((0, 0), bool))] * len(logits)
    groups, group = sizes.unique(dim=0, return_inverse=True)
    for number, (w, h) in enumerate(groups.tolist()):
        if w == 0:
            continue
        members = torch.nonzero(group == number)[:, 0]
        # Large masks a few at a time, so that memory does not grow with the number of masks.
        for part in members.split(max(1, _PIXELS_AT_ONCE // (w * h))):
            upsampled = _upsample(logits[part], windows[part], boxes[part, :2], h, w).cpu().numpy()
            for index, pixels in zip(part.tolist(), upsampled, strict=True):
                x, y, box_w, box_h = box_list[index]
                claims[index] = (x, y, pixels[:box_h, :box_w])
    return claims


def smoothed(logits: Tensor) -> Tensor:
    """Logits (N, T, T), each averaged with its neighbours.

    Single logits of the compact model are noisy: outlines are ragged otherwise, and perimeters
    too long. Areas stay.
    """
    side = logits.new_tensor([_NEIGHBOUR, 1 - 2 * _NEIGHBOUR, _NEIGHBOUR], dtype=torch.float32)
    kernel = (side[:, None] * side)[None, None]
    # A few very sure logits would move the outline of their neighbours.
    bounded = logits.float().clamp(-_SURE, _SURE)[:, None]
    with full_precision(logits.device):
        return F.conv2d(F.pad(bounded, (1, 1, 1, 1), mode="replicate"), kernel)[:, 0]


def largest_component_mask(
    logits: Tensor, window: Tensor, shape: tuple[int, ...], score: float, stability: float
) -> Mask:
    """The largest connected component of one mask; without pixels if the mask is empty.

    Parameters
    ----------
    logits : (T, T) tensor
        Mask logits over the window.
    window : (4,) float tensor
        Left, top, right, bottom, pixels.
    shape : (int, int)
        Height and width of the image.
    """
    ((x, y, pixels),) = full_size(logits[None], window[None], shape[0], shape[1])
    component = _largest_component(pixels)
    if not component.any():
        return Mask(x, y, np.zeros((0, 0), bool), 0.0, 0.0)
    return tight(x, y, component, score, stability)


def tight(x: int, y: int, pixels: NDArray[np.bool_], score: float, stability: float) -> Mask:
    """A `Mask`, with a tight box, from pixels in a larger box; they must not be all False."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    cropped = np.ascontiguousarray(pixels[box])
    return Mask(x + int(columns[0]), y + int(rows[0]), cropped, score, stability)


def _reach(hit: Tensor, low: Tensor, high: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """First pixel and one past the last that masks may reach along one side of the image.

    Parameters
    ----------
    hit : (N, T) bool tensor
        Whether any logit of a column, or row, is positive.
    low, high : (N,) tensors
        The windows' edges.
    """
    size = hit.shape[1]
    first = hit.int().argmax(dim=1)
    last = size - 1 - hit.flip(1).int().argmax(dim=1)
    step = (high - low) / size
    # A positive logit has influence up to the centres of its neighbours, within the window.
    start = (low + (first - 0.5) * step - 0.5).floor().maximum(low.floor())
    stop = (low + (last + 1.5) * step + 0.5).ceil().minimum(high.ceil())
    start, stop = start.clamp(0, length), stop.clamp(0, length)
    return start, torch.where(hit.any(dim=1), stop, start)


def _upsample(logits: Tensor, windows: Tensor, origin: Tensor, height: int, width: int) -> Tensor:
    """Masks (n, height, width) whose top left pixels are `origin` (n, 2)."""
    columns = _weights(windows[:, 0], windows[:, 2], origin[:, 0], width, logits.shape[2])
    rows = _weights(windows[:, 1], windows[:, 3], origin[:, 1], height, logits.shape[1])
    # Half precision would round the weights, and with them the outline.
    with full_precision(logits.device):
        return rows @ logits.float() @ columns.mT > 0


def _weights(low: Tensor, high: Tensor, start: Tensor, length: int, size: int) -> Tensor:
    """Weights (n, length, size) of the linear interpolation along one side."""
    pixels = torch.arange(length, device=low.device) + 0.5
    cells = torch.arange(size, device=low.device) + 0.5
    step = ((high - low) / size)[:, None]
    position = (start[:, None] + pixels - low[:, None]) / step
    return (1 - (position[:, :, None] - cells).abs()).clamp(min=0)


def upsampling_batches(windows: Tensor, shape: tuple[int, ...]) -> list[int]:
    """Numbers of masks, in order, that are upsampled at once, so that memory stays small."""
    sides = (windows[:, 2:] - windows[:, :2]).minimum(windows.new_tensor(shape[::-1]))
    batch = (sides.prod(dim=1).double().cumsum(0) / _PIXELS_PER_BATCH).long()
    counts: list[int] = batch.unique_consecutive(return_counts=True)[1].tolist()
    return counts


def _largest_component(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    components, count = ndimage.label(pixels, _CONNECTIVITY)
    if count < 2:
        return pixels
    area = np.bincount(components.ravel())
    area[0] = 0
    largest: NDArray[np.bool_] = components == area.argmax()
    return largest
