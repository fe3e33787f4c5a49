"""Masks for a person's clicks and boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mcn.mask import Mask
from mcn.segment.inference.candidates import Candidates, GeneratorSettings, stability_score
from mcn.segment.inference.encoded_picture import EncodedPicture
from mcn.segment.inference.postprocess import largest_component_mask, smoothed
from mcn.segment.inference.prompts import UserPrompts
from mcn.segment.inference.proposals import propose
from mcn.segment.inference.tiling import LARGEST, REDUCTION, grey_level
from mcn.segment.inference.window_fitting import cut_sides
from mcn.segment.modeling.compact_sam import CompactSam, PromptBatch
from mcn.segment.modeling.image_encoder import Features
from mcn.segment.modeling.mask_decoder import MASK_SIZE, square_windows
from mcn.segment.modeling.number_format import autocast
from mcn.segment.modeling.window_decoder import WindowDecoder

VIEW = 384
"""Side of the part that is encoded around a prompt, pixels of the scaled image."""
_GRID = VIEW // 3
"""Clicks are at most half of it from the centre of their view, pixels of the scaled image."""
_MIN_CENTRE_PROBABILITY = 0.05
_TRIAL_SIDES = (24.0, 60.0, 150.0)
_CUT = 0.5
"""What the score of a mask counts that its window cuts off: the model rates what it sees of it."""


@dataclass(frozen=True, eq=False)
class View:
    """A part of an image, scaled.

    Parameters
    ----------
    pixels : (h, w) uint8 array
        At most `VIEW` pixels high and wide.
    x, y : int
        Its left column and top row in the image.
    scale : float
        Pixels of the view per pixel of the image.
    """

    pixels: NDArray[np.uint8]
    x: int
    y: int
    scale: float


def predict(
    model: CompactSam,
    image: NDArray[np.uint8],
    user_prompts: UserPrompts,
    settings: GeneratorSettings = GeneratorSettings(),
    encoded: EncodedPicture | None = None,
) -> list[Mask]:
    """The crystal at each prompt.

    The image is encoded around a prompt: for a box at the magnification that fits its size,
    for clicks alone at all magnifications. The result is the mask that agrees with most
    clicks; of several, the one with the highest predicted IoU and stability that its window
    does not cut off.

    Parameters
    ----------
    model : CompactSam
        On any device.
    image : (H, W) uint8 array
        Of any size; the cost of a prompt does not depend on it.
    user_prompts : UserPrompts
        N prompts.
    encoded : EncodedPicture, optional
        What earlier calls encoded of the image. Views are moved onto a grid then, so that clicks
        near each other share them.

    Returns
    -------
    list of N Mask
        In the order of the prompts. Each is connected; they may overlap. A mask has no pixels
        if there is no crystal.
    """
    device = next(model.parameters()).device
    step = 1 if encoded is None else _GRID
    encoded = encoded or EncodedPicture()
    encoded.grey = encoded.grey or grey_level(image)
    mean, deviation = encoded.grey
    masks = []
    with torch.inference_mode():
        for i in range(len(user_prompts)):
            views = list(_views(image, user_prompts, i, settings, step))

            def encode(numbers: Sequence[int], views: list[View] = views) -> Features:
                batch = np.zeros((len(numbers), 1, VIEW, VIEW), np.float32)
                for row, number in enumerate(numbers):
                    height, width = views[number].pixels.shape
                    batch[row, 0, :height, :width] = (views[number].pixels - mean) / deviation
                with autocast(device):
                    features: Features = model.image_encoder(torch.from_numpy(batch).to(device))
                return features

            features = encoded.features([(view.x, view.y, view.scale) for view in views], encode)
            prompts = _prompts(features, views, user_prompts, i, settings)
            masks.append(_best(model, features, prompts, views, image.shape, settings))
    return masks


def _views(
    image: NDArray[np.uint8],
    user_prompts: UserPrompts,
    i: int,
    settings: GeneratorSettings,
    step: int,
) -> Iterator[View]:
    box, points = user_prompts.boxes[i], user_prompts.points[i][user_prompts.labels[i] == 1]
    if np.isnan(box).any():
        centre, scale = points.mean(axis=0), 2.0
        while True:
            yield _view(image, centre, scale, step)
            if max(image.shape) * scale <= VIEW:
                return
            scale = scale / REDUCTION if scale <= 1 else 1.0
    side = float(max(box[2] - box[0], box[3] - box[1]))
    scale = 2.0 if side < settings.magnify_below else 1.0
    while side * scale > LARGEST:
        scale /= REDUCTION
    yield _view(image, (box[:2] + box[2:]) / 2, scale, step)


def _view(image: NDArray[np.uint8], centre: NDArray[np.float32], scale: float, step: int) -> View:
    """The part of an image about a centre x, y, moved onto a grid and to lie within the image.

    `step` is the distance of the grid's lines, pixels of the scaled image.
    """
    grid = max(1, round(step / scale)) if step > 1 else 1
    spans = []
    for middle, length in zip(centre, image.shape[::-1], strict=True):
        reach = min(round(VIEW / scale), length)
        start = round((float(middle) - reach / 2) / grid) * grid
        start = min(max(start, 0), length - reach)
        spans.append((start, reach))
    (x, width), (y, height) = spans
    size = max(1, round(width * scale)), max(1, round(height * scale))
    part = Image.fromarray(np.ascontiguousarray(image[y : y + height, x : x + width]))
    resampling = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX
    return View(np.asarray(part.resize(size, resampling)), x, y, scale)


def _prompts(
    features: Features,
    views: list[View],
    user_prompts: UserPrompts,
    i: int,
    settings: GeneratorSettings,
) -> PromptBatch:
    """For a box one prompt per view; for clicks one per crystal that they may belong to."""
    device = features.embedding.device
    origins = torch.tensor([(view.x, view.y) for view in views], device=device)
    scales = torch.tensor([view.scale for view in views], device=device)
    points = torch.from_numpy(user_prompts.points[i]).to(device)
    labels = torch.from_numpy(user_prompts.labels[i]).to(device)
    box = torch.from_numpy(user_prompts.boxes[i]).to(device)
    if not box.isnan().any():
        boxes = (box[None] - origins.repeat(1, 2)) * scales[:, None]
        index = torch.arange(len(views), device=device)
        windows = square_windows(boxes, settings.margin)
    else:
        sizes = [(view.pixels.shape[0], view.pixels.shape[1]) for view in views]
        proposals = propose(features.proposal, sizes, _MIN_CENTRE_PROBABILITY, settings.max_prompts)
        positions = (points[None] - origins[:, None]) * scales[:, None, None]
        inside = positions[proposals.image_index]
        inside = (inside > proposals.boxes[:, None, :2]) & (inside < proposals.boxes[:, None, 2:])
        has_clicks = (inside.all(dim=2) | (labels != 1)).all(dim=1)
        # In case nothing is proposed there, windows of several sizes around the click are tried.
        middle = positions[:, labels == 1].mean(dim=1)
        half = torch.tensor(_TRIAL_SIDES, device=device)[:, None, None] / 2
        trials = torch.cat([middle - half, middle + half], dim=2).flatten(0, 1)
        trial_index = torch.arange(len(views), device=device).repeat(len(_TRIAL_SIDES))
        unknown = torch.full_like(trials, torch.nan)
        boxes = torch.cat([proposals.boxes[has_clicks], unknown])
        index = torch.cat([proposals.image_index[has_clicks], trial_index])
        windows = square_windows(torch.cat([proposals.boxes[has_clicks], trials]), settings.margin)
    n = len(index)
    view_points = (points[None] - origins[index, None]) * scales[index, None, None]
    padding = torch.zeros((n, 1, 2), device=device)
    return PromptBatch(
        windows=windows,
        image_index=index,
        points=torch.cat([view_points, padding], dim=1),
        labels=torch.cat([labels.expand(n, -1), -torch.ones_like(index)[:, None]], dim=1),
        boxes=boxes,
    )


def _best(
    model: CompactSam,
    features: Features,
    prompts: PromptBatch,
    views: list[View],
    shape: tuple[int, ...],
    settings: GeneratorSettings,
) -> Mask:
    """The best mask for the prompts, in pixels of the image."""
    first = (prompts.labels == 1).cumsum(dim=1) == 1
    first_click = replace(prompts, labels=torch.where(first & (prompts.labels == 1), 1, -1))
    decoder = WindowDecoder(model)
    shared = decoder.prepare(features, prompts.windows)
    logits, quality, _ = decoder.decode(shared, first_click)
    # Further clicks correct the mask of the first one.
    if (first_click.labels != prompts.labels).any():
        corrected = replace(prompts, mask_logits=logits[:, None].clamp(-10, 10))
        logits, quality, _ = decoder.decode(shared, corrected)
    stability = stability_score(logits, settings.stability_offset)
    frames = prompts.windows.new_tensor([(view.x, view.y, view.scale) for view in views])
    origins, scales = frames[prompts.image_index].split([2, 1], dim=1)
    windows = prompts.windows / scales + origins.repeat(1, 2)
    candidates = Candidates(
        logits, windows, quality, stability, quality * stability, prompts.image_index
    )
    border = windows.new_tensor([0, 0, shape[1], shape[0]])
    is_cut = cut_sides(candidates, border).any(dim=1)
    scores = candidates.scores * torch.where(is_cut, _CUT, 1.0)
    best = int((_agreement(logits, prompts) + scores).argmax())
    score, best_stability = float(quality[best]), float(stability[best])
    outline = smoothed(logits[best : best + 1])[0]
    return largest_component_mask(outline, windows[best], shape, score, best_stability)


def _agreement(logits: Tensor, prompts: PromptBatch) -> Tensor:
    """Number of clicks (n,) that each mask agrees with."""
    sides = prompts.windows[:, None, 2:] - prompts.windows[:, None, :2]
    cells = ((prompts.points - prompts.windows[:, None, :2]) / sides * MASK_SIZE).floor().long()
    inside = ((cells >= 0) & (cells < MASK_SIZE)).all(dim=2)
    cells = cells.clamp(0, MASK_SIZE - 1)
    rows = torch.arange(len(logits), device=logits.device)[:, None]
    on = (logits[rows, cells[..., 1], cells[..., 0]] > 0) & inside
    right = (on == (prompts.labels == 1)) & (prompts.labels >= 0)
    return right.sum(dim=1)
