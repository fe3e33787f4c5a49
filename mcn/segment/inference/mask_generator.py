"""Automatic masks: all crystals of an image, each pixel in at most one mask."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mcn.mask import Mask
from mcn.segment.inference.candidates import (
    Candidates,
    GeneratorSettings,
    concatenate,
    covered,
    filter_by_stability,
    group_by_shape,
    split_batches,
)
from mcn.segment.inference.postprocess import smoothed, suppress_overlaps
from mcn.segment.inference.proposals import Proposals, choose, propose
from mcn.segment.inference.tiling import Window, grey_level, levels, window_count
from mcn.segment.inference.window_fitting import fit_windows
from mcn.segment.modeling.compact_sam import CompactSam, PromptBatch
from mcn.segment.modeling.image_encoder import STRIDE, Features
from mcn.segment.modeling.mask_decoder import square_windows
from mcn.segment.modeling.number_format import autocast
from mcn.segment.modeling.window_decoder import WindowDecoder, WindowFeatures


def generate(
    model: CompactSam,
    images: Sequence[NDArray[np.uint8]],
    settings: GeneratorSettings = GeneratorSettings(),
) -> list[list[Mask]]:
    """Masks of every crystal in each image.

    Parameters
    ----------
    model : CompactSam
        On any device.
    images : sequence of (H, W) uint8 arrays
        Of any sizes; images of equal size are encoded together.

    Returns
    -------
    list of list of Mask
        Disjoint masks, ordered by row, then column, of their boxes.
    """
    results: list[list[Mask]] = [[] for _ in images]
    with torch.inference_mode():
        for shape, members in group_by_shape(images).items():
            small = []
            for part in split_batches(members, shape[0] * shape[1], settings):
                candidates = _candidates(model, np.stack([images[i] for i in part]), settings)
                for index, i in enumerate(part):
                    windows = candidates.windows[candidates.image_index == index]
                    if _median_side(windows, settings) < settings.magnify_below:
                        small.append(i)
                    else:
                        results[i] = suppress_overlaps(candidates, index, shape, settings)
            for part in split_batches(small, 4 * shape[0] * shape[1], settings):
                candidates = _candidates(
                    model, np.stack([_doubled(images[i]) for i in part]), settings
                )
                candidates = replace(candidates, windows=candidates.windows / 2)
                for index, i in enumerate(part):
                    results[i] = suppress_overlaps(candidates, index, shape, settings)
    return results


@torch.inference_mode()
def generate_in_steps(
    model: CompactSam,
    image: NDArray[np.uint8],
    settings: GeneratorSettings = GeneratorSettings(),
) -> Generator[float, None, list[Mask]]:
    """Masks of every crystal of one image, window by window, so that others may have a turn.

    Parameters
    ----------
    model : CompactSam
        On any device.
    image : (H, W) uint8 array

    Yields
    ------
    float
        Share of the windows that are done, 0 to 1; how many there are in all is estimated from
        the sizes of the crystals found so far.

    Returns
    -------
    list of Mask
        As `generate` gives them for this image alone.
    """
    height, width = image.shape
    once, twice = (window_count(n * height, n * width, settings.window) for n in (1, 2))
    windows, parts, share = torch.zeros((0, 4)), [], 0.0
    for done, part in enumerate(_window_candidates(model, image[None], settings), 1):
        parts.append(part)
        windows = torch.cat([windows.to(part.windows), part.windows])
        is_small = _median_side(windows, settings) < settings.magnify_below
        share = max(share, done / (once + (twice if is_small else 0)))
        yield share
    candidates = concatenate(parts)
    if _median_side(candidates.windows, settings) < settings.magnify_below:
        parts = []
        for done, part in enumerate(_window_candidates(model, _doubled(image)[None], settings), 1):
            parts.append(replace(part, windows=part.windows / 2))
            share = max(share, (once + done) / (once + twice))
            yield share
        candidates = concatenate(parts)
    return suppress_overlaps(candidates, 0, image.shape, settings)


def _median_side(windows: Tensor, settings: GeneratorSettings) -> float:
    """Median longer side of crystals by their windows (N, 4), pixels; infinite without any."""
    if not len(windows):
        return np.inf
    return float((windows[:, 2] - windows[:, 0]).median()) / settings.margin


def _doubled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape
    return np.asarray(
        Image.fromarray(image).resize((2 * width, 2 * height), Image.Resampling.BICUBIC)
    )


def propose_crystals(
    model: CompactSam,
    image: NDArray[np.uint8],
    settings: GeneratorSettings = GeneratorSettings(),
) -> Proposals:
    """Proposed centres and boxes of all crystals of an image (H, W), without their masks."""
    with torch.inference_mode():
        proposals = _join_proposals(model, image, settings)
        sides = (proposals.boxes[:, 2:] - proposals.boxes[:, :2]).amax(dim=1)
        if len(sides) and sides.median() < settings.magnify_below:
            proposals = _join_proposals(model, _doubled(image), settings)
            points, boxes = proposals.points / 2, proposals.boxes / 2
            proposals = replace(proposals, points=points, boxes=boxes)
    return proposals


def _join_proposals(
    model: CompactSam, image: NDArray[np.uint8], settings: GeneratorSettings
) -> Proposals:
    parts = []
    for view in _views(model, image[None], settings):
        origin = view.proposals.points.new_tensor([view.window.x, view.window.y])
        points = (view.proposals.points + origin) * view.reduction
        boxes = (view.proposals.boxes + origin.repeat(2)) * view.reduction
        parts.append(replace(view.proposals, points=points, boxes=boxes))
    names = [field.name for field in fields(Proposals)]
    return Proposals(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class _View:
    """A window of images of one reduced size, encoded, and what is proposed there."""

    features: Features
    proposals: Proposals
    window: Window
    reduction: int
    border: Tensor


def _views(
    model: CompactSam, images: NDArray[np.uint8], settings: GeneratorSettings
) -> Iterator[_View]:
    """Views of images (B, H, W), each with the proposals of the sizes that it fits."""
    device = next(model.parameters()).device
    for reduction, reduced, windows in levels(images, settings.window):
        greys = torch.tensor([grey_level(image) for image in reduced], device=device)
        mean, deviation = greys.T[:, :, None, None, None]
        for window in windows:
            rows = slice(window.y, window.y + window.height)
            view = reduced[:, rows, window.x : window.x + window.width]
            # 8-bit pixels are copied in a quarter of the time of standardised ones, and faster
            # than those from pinned memory, which would have to be filled first.
            pixels = torch.tensor(view, device=device)[:, None]
            with autocast(device):
                features = model.image_encoder(_padded((pixels - mean) / deviation))
            sizes = [(window.height, window.width)] * len(images)
            proposals = propose(
                features.proposal, sizes, settings.centre_threshold, settings.max_prompts
            )
            proposals = choose(proposals, _belongs_to(window, proposals))
            border = image_border(window, reduced.shape[1:], device)
            yield _View(features, proposals, window, reduction, border)


def _candidates(
    model: CompactSam, images: NDArray[np.uint8], settings: GeneratorSettings
) -> Candidates:
    """Candidates of images (B, H, W), each from the window and magnification that fits its size."""
    return concatenate([*_window_candidates(model, images, settings)])


def _window_candidates(
    model: CompactSam, images: NDArray[np.uint8], settings: GeneratorSettings
) -> Iterator[Candidates]:
    """The candidates of one window of images (B, H, W) after the other."""
    for view in _views(model, images, settings):
        candidates = decode_proposals(
            model, view.features, view.proposals, settings, border=view.border
        )
        origin = candidates.windows.new_tensor([view.window.x, view.window.y]).repeat(2)
        yield replace(
            candidates,
            logits=smoothed(candidates.logits).half(),
            windows=(candidates.windows + origin) * view.reduction,
        )


def image_border(window: Window, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Left, top, right and bottom (4,) of the image in its window; infinite if they lie outside."""
    height, width = shape
    edges = (
        0.0 if window.x == 0 else -torch.inf,
        0.0 if window.y == 0 else -torch.inf,
        float(window.width) if window.x + window.width == width else torch.inf,
        float(window.height) if window.y + window.height == height else torch.inf,
    )
    return torch.tensor(edges, device=device)


def _belongs_to(window: Window, proposals: Proposals) -> Tensor:
    core = proposals.points.new_tensor(window.inner)
    inside = (proposals.points >= core[:2]) & (proposals.points < core[2:])
    side = (proposals.boxes[:, 2:] - proposals.boxes[:, :2]).amax(dim=1)
    return (
        inside.all(dim=1).logical_and(side > window.sides[0]).logical_and(side <= window.sides[1])
    )


def decode_proposals(
    model: CompactSam,
    features: Features,
    proposals: Proposals,
    settings: GeneratorSettings,
    dtype: torch.dtype | None = None,
    border: Tensor | None = None,
) -> Candidates:
    """Decode proposals and drop masks below the thresholds, at low resolution.

    Unsure centres on a mask of the sure ones are not decoded: nearly all of them are parts or
    duplicates of a crystal that has a mask already.

    Parameters
    ----------
    features : Features
        Of B images.
    proposals : Proposals
        Of those images.
    dtype : torch.dtype, optional
        Number format of the image tokens; by default the processor's `number_format`.
    border : (4,) float tensor, optional
        Left, top, right and bottom border of the images, pixels, where a mask may end; see
        `fit_windows`. By default masks may end at their window too.
    """
    decoder = WindowDecoder(model, dtype)
    shared = decoder.prepare(features, square_windows(proposals.boxes, settings.margin))
    sure = proposals.scores >= settings.sure_centre
    first = _decode(decoder, shared, choose(proposals, sure), settings)
    unsure = choose(proposals, ~sure)
    hidden = covered(first, unsure.points, unsure.image_index, settings.covering_iou)
    second = _decode(decoder, shared, choose(unsure, ~hidden), settings)
    candidates = concatenate([first, second])
    if border is None:
        return candidates

    def decode_again(prompts: PromptBatch, scores: Tensor) -> Candidates:
        shared = decoder.prepare(features, prompts.windows)
        return _decode_prompts(decoder, shared, prompts, scores, settings)

    return fit_windows(candidates, decode_again, border, settings.margin, settings.refits)


def _decode(
    decoder: WindowDecoder,
    shared: WindowFeatures,
    proposals: Proposals,
    settings: GeneratorSettings,
) -> Candidates:
    prompts = PromptBatch(
        windows=square_windows(proposals.boxes, settings.margin),
        image_index=proposals.image_index,
        points=proposals.points[:, None],
        labels=torch.ones_like(proposals.image_index[:, None]),
        boxes=proposals.boxes,
    )
    return _decode_prompts(decoder, shared, prompts, proposals.scores, settings)


def _decode_prompts(
    decoder: WindowDecoder,
    shared: WindowFeatures,
    prompts: PromptBatch,
    scores: Tensor,
    settings: GeneratorSettings,
) -> Candidates:
    """Masks above the thresholds of prompts whose proposals have `scores` (N,)."""
    kept: list[tuple[Tensor, ...]] = []
    # At least one batch, if without prompts, so that the result has its shape.
    for start in range(0, max(len(scores), 1), settings.prompts_per_batch):
        part = prompts.select(slice(start, start + settings.prompts_per_batch))
        logits, iou, kept_prompts = decoder.decode(shared, part, settings.min_predicted_iou)
        *masks, chosen = filter_by_stability(logits, iou, settings)
        kept.append((*masks, kept_prompts[chosen] + start))
    logits, quality, stability, index = (torch.cat(part) for part in zip(*kept, strict=True))
    return Candidates(
        logits=logits,
        windows=prompts.windows[index],
        predicted_iou=quality,
        stability=stability,
        scores=quality * scores[index].sqrt(),
        image_index=prompts.image_index[index],
    )


def _padded(batch: Tensor) -> Tensor:
    """(B, 1, H, W) tensor to (B, 1, H', W'), H' and W' multiples of the stride."""
    height, width = batch.shape[2:]
    tensor = F.pad(batch, (0, -width % STRIDE, 0, -height % STRIDE))
    return tensor.contiguous(memory_format=torch.channels_last)
