"""Automatic masks: every crystal of an image, each pixel given to at most one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label as connected
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mcn.mask import Mask, masks_from_labels
from mcn.segment.decoder import MASK_SIZE, square_windows
from mcn.segment.encoder import STRIDE, Features
from mcn.segment.prompts import Proposals, choose, propose
from mcn.segment.sam import CompactSam, Prompts
from mcn.segment.windows import Window, levels


@dataclass(frozen=True)
class GeneratorSettings:
    """What counts as a crystal, and how much is worked on at once.

    Parameters
    ----------
    centre_threshold : float
        Least probability of a proposed centre.
    min_predicted_iou, min_stability : float
        Masks below are dropped.
    stability_offset : float
        Logits the threshold is raised and lowered by to measure stability.
    max_overlap : float
        A mask of which more than this share belongs to better masks is a duplicate.
    min_area_px : int
        Smallest crystal kept, pixels.
    margin : float
        Side of a prompt's window, in longer sides of its proposed box.
    max_prompts : int
        Most prompts a window.
    prompts_per_batch : int
        Prompts decoded at once; with the next, bounds the memory.
    pixels_per_batch : int
        Pixels encoded at once; an image larger than this goes alone.
    """

    centre_threshold: float = 0.3
    min_predicted_iou: float = 0.7
    min_stability: float = 0.65
    stability_offset: float = 1.0
    max_overlap: float = 0.5
    min_area_px: int = 25
    margin: float = 1.5
    max_prompts: int = 3000
    prompts_per_batch: int = 256
    pixels_per_batch: int = 2**22


@dataclass(frozen=True)
class Candidates:
    """N decoded masks before they are compared.

    Parameters
    ----------
    logits : (N, T, T) float tensor
        Mask logits over each window.
    windows : (N, 4) float tensor
        Left, top, right, bottom of the windows, pixels.
    predicted_iou, stability, scores : (N,) float tensors
        The decoder's estimate, the steadiness of the threshold, and the order of precedence.
    image_index : (N,) int64 tensor
        The image each lies in.
    """

    logits: Tensor
    windows: Tensor
    predicted_iou: Tensor
    stability: Tensor
    scores: Tensor
    image_index: Tensor


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
        Of any sizes; equal ones are encoded together.

    Returns
    -------
    list of list of Mask
        Disjoint masks, ordered by row, then column, of their boxes.
    """
    device = next(model.parameters()).device
    results: list[list[Mask]] = [[] for _ in images]
    alike: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(images):
        if image.size:
            alike.setdefault(image.shape, []).append(i)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        for shape, members in alike.items():
            at_once = max(1, settings.pixels_per_batch // (shape[0] * shape[1]))
            for start in range(0, len(members), at_once):
                part = members[start : start + at_once]
                candidates = _candidates(model, np.stack([images[i] for i in part]), settings)
                for place, i in enumerate(part):
                    results[i] = resolve(candidates, place, shape, settings)
    return results


def _candidates(
    model: CompactSam, images: NDArray[np.uint8], settings: GeneratorSettings
) -> Candidates:
    """Candidates of images (B, H, W), each from the window and magnification that suit it."""
    device = next(model.parameters()).device
    found = []
    for reduction, reduced, windows in levels(images):
        mean = reduced.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
        deviation = np.maximum(reduced.std(axis=(1, 2), keepdims=True, dtype=np.float32), 1e-3)
        for window in windows:
            rows = slice(window.y, window.y + window.height)
            view = reduced[:, rows, window.x : window.x + window.width]
            features = model.image_encoder(_padded((view - mean) / deviation, device))
            sizes = [(window.height, window.width)] * len(images)
            proposals = propose(
                features.proposal, sizes, settings.centre_threshold, settings.max_prompts
            )
            proposals = choose(proposals, _answered_for(window, proposals))
            candidates = decode_proposals(model, features, proposals, settings)
            origin = candidates.windows.new_tensor([window.x, window.y, window.x, window.y])
            found.append(
                replace(
                    candidates,
                    logits=candidates.logits.bfloat16(),
                    windows=(candidates.windows + origin) * reduction,
                )
            )
    parts = [[getattr(one, field.name) for one in found] for field in fields(Candidates)]
    return Candidates(*(torch.cat(part) for part in parts))


def _answered_for(window: Window, proposals: Proposals) -> Tensor:
    core = proposals.points.new_tensor(window.core)
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
) -> Candidates:
    """Decode what the encoder proposes and drop what is unsure, all at low resolution."""
    windows = square_windows(proposals.boxes, settings.margin)
    kept: list[tuple[Tensor, ...]] = []
    for start in range(0, len(windows), settings.prompts_per_batch):
        part = slice(start, start + settings.prompts_per_batch)
        prompts = Prompts(
            windows=windows[part],
            image_index=proposals.image_index[part],
            points=proposals.points[part, None],
            labels=torch.ones_like(proposals.image_index[part, None]),
            boxes=proposals.boxes[part],
        )
        logits, iou = model.decode(features, prompts)
        *answers, chosen = steady(logits[:, 0], iou[:, 0], settings)
        kept.append((*answers, chosen + start))
    if not kept:
        empty = windows.new_zeros(0)
        none = empty.long()
        return Candidates(
            windows.new_zeros((0, MASK_SIZE, MASK_SIZE)), windows, empty, empty, empty, none
        )
    logits, quality, stability, index = (torch.cat(part) for part in zip(*kept, strict=True))
    return Candidates(
        logits=logits,
        windows=windows[index],
        predicted_iou=quality,
        stability=stability,
        scores=quality * proposals.scores[index].sqrt(),
        image_index=proposals.image_index[index],
    )


def steady(
    logits: Tensor, iou: Tensor, settings: GeneratorSettings
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keep the masks whose estimated IoU and stability are good enough.

    Parameters
    ----------
    logits : (N, T, T) tensor
        Mask logits.
    iou : (N,) tensor
        Estimated IoU.

    Returns
    -------
    logits, iou, stability : (n, T, T), (n,), (n,) float tensors
        Of the masks kept. Stability is the IoU of the masks at a raised and a lowered threshold.
    index : (n,) int64 tensor
        Which they were.
    """
    logits, quality = logits.float(), iou.float().clamp(0, 1)
    inner = (logits > settings.stability_offset).sum(dim=(1, 2)).float()
    stability = inner / (logits > -settings.stability_offset).sum(dim=(1, 2)).clamp(min=1)
    good = (quality >= settings.min_predicted_iou) & (stability >= settings.min_stability)
    index = torch.nonzero(good)[:, 0]
    return logits[index], quality[index], stability[index], index


def resolve(
    candidates: Candidates, image: int, shape: tuple[int, ...], settings: GeneratorSettings
) -> list[Mask]:
    """Give each pixel to the best mask that claims it and drop duplicates.

    Returns
    -------
    list of Mask
        In one piece each; `predicted_iou` carries the score that ranks them.
    """
    index = torch.nonzero(candidates.image_index == image)[:, 0]
    index = index[candidates.scores[index].argsort(descending=True, stable=True)]
    canvas = np.zeros(shape, np.int32)
    claims = (
        claim
        for part in index.split(settings.prompts_per_batch)
        for claim in _full_size(candidates.logits[part], candidates.windows[part], *shape)
    )
    for rank, (x, y, claim) in enumerate(claims, start=1):
        view = canvas[y : y + claim.shape[0], x : x + claim.shape[1]]
        free = claim & (view == 0)
        area = int(np.count_nonzero(free))
        if area < settings.min_area_px:
            continue
        if area < (1 - settings.max_overlap) * np.count_nonzero(claim):
            continue
        view[free] = rank
    canvas = _one_piece(canvas, settings.min_area_px)
    ranks = np.unique(canvas)
    ranks = ranks[ranks > 0]
    order = index.cpu().numpy()[ranks - 1]
    quality = candidates.scores.cpu().numpy()[order]
    stability = candidates.stability.cpu().numpy()[order]
    masks = [
        Mask(mask.x, mask.y, mask.pixels, float(q), float(s))
        for mask, q, s in zip(masks_from_labels(canvas), quality, stability, strict=True)
    ]
    return sorted(masks, key=lambda mask: (mask.y, mask.x))


def _padded(batch: NDArray[np.float32], device: torch.device) -> Tensor:
    """(B, H, W) array to a (B, 1, H', W') tensor, H' and W' multiples of the stride."""
    height, width = batch.shape[1:]
    tensor = torch.from_numpy(batch)[:, None].to(device, non_blocking=True)
    tensor = F.pad(tensor, (0, -width % STRIDE, 0, -height % STRIDE))
    return tensor.contiguous(memory_format=torch.channels_last)


def _full_size(
    logits: Tensor, windows: Tensor, height: int, width: int
) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """Each mask at full resolution: left, top and pixels of its window within the image."""
    n = len(logits)
    claims: list[tuple[int, int, NDArray[np.bool_]]] = [(0, 0, np.zeros((0, 0), bool))] * n
    origin = windows[:, :2].floor()
    extent = (windows[:, 2:].ceil() - origin).amax(dim=1)
    bucket = extent.clamp(min=16).log2().ceil().long()
    for power in bucket.unique().tolist():
        members = torch.nonzero(bucket == power)[:, 0]
        size = 2**power
        # Large masks a few at a time: memory follows this, not the number of masks.
        for part in members.split(max(1, 2**22 // size**2)):
            steps = torch.arange(size, device=windows.device) + 0.5
            sides = windows[part, 2:] - windows[part, :2]
            xs = (origin[part, :1] + steps - windows[part, :1]) / sides[:, :1] * 2 - 1
            ys = (origin[part, 1:] + steps - windows[part, 1:2]) / sides[:, 1:] * 2 - 1
            shape = (len(part), size, size)
            grid = torch.stack([xs[:, None].expand(shape), ys[:, :, None].expand(shape)], dim=-1)
            # Beyond its window a mask has no say.
            read = F.grid_sample(logits[part, None].float(), grid, align_corners=False)[:, 0] > 0
            for place, pixels in zip(part.tolist(), read.cpu().numpy(), strict=True):
                x, y = int(origin[place, 0]), int(origin[place, 1])
                left, top = max(x, 0), max(y, 0)
                claims[place] = (left, top, pixels[top - y : height - y, left - x : width - x])
    return claims


def _one_piece(canvas: NDArray[np.int32], min_area: int) -> NDArray[np.int32]:
    """Keep the largest connected piece of each label, and only if large enough."""
    pieces, count = connected(canvas, connectivity=1, return_num=True)
    area = np.bincount(pieces.ravel(), minlength=count + 1)
    owner = np.zeros(count + 1, np.int32)
    owner[pieces.ravel()] = canvas.ravel()
    largest = np.zeros(int(canvas.max(initial=0)) + 1, np.int64)
    np.maximum.at(largest, owner, area)
    keep = (owner > 0) & (area == largest[owner]) & (area >= min_area)
    _, first = np.unique(np.where(keep, owner, -1), return_index=True)
    single = np.zeros(count + 1, bool)
    single[first] = True
    return np.where((keep & single)[pieces], canvas, 0)
