"""Training segmenters from images with instance masks."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mcn.analyzer import Segmenter
from mcn.errors import McnError
from mcn.segment.dataset import DataError, Pair, list_pairs, split_pairs
from mcn.segment.evaluation.metrics import evaluate_segmenter
from mcn.segment.modeling.checkpoints import save_weights
from mcn.segment.modeling.compact_sam import CompactSam
from mcn.segment.modeling.processor import autocast
from mcn.segment.training.compact import CompactTrainee, from_imagenet
from mcn.segment.training.samples import Sample, SampleSettings, samples
from mcn.segment.training.vit import VitTrainee

Labelled = tuple[NDArray[np.uint8], NDArray[np.int32]]
_MOST_SKIPPED = 20


@dataclass(frozen=True)
class SegmenterTrainSettings:
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
    lora : int
        Rank of the adapters of a ViT's attention; 0 leaves its image encoder as it is.
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
    lora: int = 0


class TrainingError(McnError):
    """A training that cannot start or go on."""


PRESETS = {
    "cpu": SegmenterTrainSettings(),
    "gpu": SegmenterTrainSettings(
        steps=12000,
        batch=32,
        sample=SampleSettings(size=512, prompts=32),
        proposed=16,
        epoch=1000,
        ema=0.9995,
        workers=12,
    ),
}

# Meta's weights are trained already: a rate that builds a compact one would undo them. Their
# encoder takes most of a step, some 20 s a crop on one CPU core, so there are fewer crops.
VIT_PRESETS = {
    "cpu": replace(
        PRESETS["cpu"], steps=200, batch=1, rate=1e-4, ema=0.98, epoch=100, max_images=4
    ),
    "gpu": replace(PRESETS["gpu"], steps=6000, batch=4, rate=1e-4, ema=0.998),
}


class _Stream(IterableDataset[dict[str, Tensor]]):
    """Endless batches; each worker draws its own."""

    def __init__(
        self, sources: Sequence[Sequence[Labelled]], settings: SegmenterTrainSettings, seed: int
    ) -> None:
        self.sources, self.settings, self.seed = sources, settings, seed

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        seed = self.seed * 1000 + (worker.id if worker else 0)
        stream = samples(self.sources, self.settings.sample, seed)
        while True:
            yield collate([next(stream) for _ in range(self.settings.batch)])


def collate(batch: Sequence[Sample]) -> dict[str, Tensor]:
    """Stack samples: every field of `Sample` with a leading batch axis."""
    fields = Sample.__dataclass_fields__
    return {
        name: torch.from_numpy(np.stack([getattr(sample, name) for sample in batch]))
        for name in fields
    }


@dataclass(frozen=True)
class Progress:
    """Where a training stands; handed to the caller after each step."""

    step: int
    steps: int
    loss: float
    epoch: dict[str, Any] | None = None


class Trainee(Protocol):
    """What a training improves: a model, and its averaged weights beside it."""

    name: str
    """Tells one resumable training from another."""

    @property
    def model(self) -> nn.Module:
        """What learns."""

    @property
    def averaged(self) -> nn.Module:
        """Its twin of averaged weights, parameter by parameter."""

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """The optimiser's parameter groups, each with its `peak` rate."""

    def losses(self, batch: dict[str, Tensor], correct: bool) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its parts; with a round of corrections where asked."""

    def segmenter(self) -> Segmenter:
        """The averaged weights at work."""

    def resumed(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors of `model` or `averaged` that a killed training needs."""

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights as they are written."""


def train_segmenter(
    folders: Sequence[Path],
    out: Path,
    settings: SegmenterTrainSettings = SegmenterTrainSettings(),
    start: nn.Module | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Train a segmenter and keep the best weights by held-out AP.

    Parameters
    ----------
    folders : sequence of Path
        Each with `images/` and `masks/`; every fifth image of each is held out. Batches draw
        from each folder equally often, and the AP that is judged by is their mean.
    out : Path
        Weights to write (`.safetensors`). Beside it come `.json`, a line an epoch, and
        `.resume.pt`, from which a killed training goes on.
    settings : SegmenterTrainSettings
        The recipe.
    start : CompactSam or segment_anything.modeling.Sam, optional
        Model to start from; a compact one on ImageNet's weights otherwise.
    on_step : callable, optional
        Told of each step.

    Returns
    -------
    dict
        The evaluation of the best epoch.

    Raises
    ------
    DataError
        Where a folder cannot be used.
    TrainingError
        Where the training cannot go on.
    MissingPackageError
        Where there is nothing to start from.
    """
    if out.suffix != ".safetensors":
        raise TrainingError(f"{out}: weights are safetensors; let the name end in .safetensors")
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = from_imagenet() if start is None else start
    sources, evaluated = read_folders(folders, settings.max_images)
    trainee = make_trainee(model.to(device), settings)
    model, averaged = trainee.model, trainee.averaged
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trainee.groups(settings.rate), weight_decay=settings.weight_decay)
    log, resume = out.with_suffix(".json"), out.with_suffix(".resume.pt")
    out.parent.mkdir(parents=True, exist_ok=True)
    step = 0
    best: dict[str, Any] = {"ap": -1.0}
    if resume.exists():
        step, best = _load_resume(resume, trainee, optimiser, device)
    else:
        log.write_text("")
    stream = iter(
        DataLoader(
            _Stream(sources, settings, settings.seed + step),
            batch_size=None,
            num_workers=settings.workers,
            prefetch_factor=4 if settings.workers else None,
            pin_memory=device.type == "cuda",
        )
    )
    started, sums = time.monotonic(), dict[str, float]()
    dice = np.random.default_rng(settings.seed)
    taught = skipped = 0
    while step < settings.steps:
        batch = {name: t.to(device, non_blocking=True) for name, t in next(stream).items()}
        factor = _schedule(step, settings.steps)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        with autocast(device):
            loss, parts = trainee.losses(batch, dice.random() < settings.correction)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(learning, settings.clip)
        step += 1
        if torch.isfinite(loss) and torch.isfinite(norm):
            optimiser.step()
            _average(averaged, model, min(settings.ema, step / (step + 20)))
            taught, skipped = taught + 1, 0
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value
        else:
            skipped += 1
        if skipped == _MOST_SKIPPED:
            raise TrainingError(
                f"{out}: the loss of {skipped} steps in a row is no finite number, at step {step}; "
                f"start again with a rate below {settings.rate:g}"
            )
        epoch = None
        if step % settings.epoch == 0 or step == settings.steps:
            segmenter = trainee.segmenter()
            metrics = [evaluate_segmenter(segmenter, pairs) for pairs in evaluated]
            epoch = {
                "step": step,
                "minutes": round((time.monotonic() - started) / 60, 1),
                **{name: round(value / taught, 4) for name, value in sums.items()},
                "ap": float(np.mean([one["ap"] or 0.0 for one in metrics])),
                "folders": metrics,
            }
            taught, sums = 0, {}
            if epoch["ap"] > best["ap"]:
                best = epoch
                save_weights(trainee.weights(), out, {"recipe": json.dumps(asdict(settings))})
            with log.open("a") as file:
                file.write(json.dumps(epoch) + "\n")
            _save_resume(resume, trainee, optimiser, step, best)
        if on_step is not None:
            on_step(Progress(step, settings.steps, float(loss.detach()), epoch))
    resume.unlink(missing_ok=True)
    return best


def read_folders(
    folders: Sequence[Path], max_images: int
) -> tuple[list[list[Labelled]], list[list[Pair]]]:
    """The training images of each folder with their labels, and the pairs to judge by.

    All are read at once: a bad one is told of before the training, not hours into it.
    """
    sources, evaluated = [], []
    for folder in folders:
        train, held_out = split_pairs(list_pairs(folder))
        if not train:
            raise DataError(
                f"{folder}: a single image cannot be both learnt from and judged by; add more"
            )
        sources.append([pair.read() for pair in train])
        evaluated.append(held_out[:max_images])
        for pair in evaluated[-1]:
            pair.read()
    return sources, evaluated


def make_trainee(model: nn.Module, settings: SegmenterTrainSettings) -> Trainee:
    """A model, compact or Meta's, on its device, with how it is trained."""
    if not isinstance(model, CompactSam):
        return VitTrainee(model, settings.lora)
    if settings.lora:
        raise TrainingError("adapters (LoRA) need the attention of vit_b, vit_l or vit_h")
    return CompactTrainee(model, settings.proposed)


def _schedule(step: int, steps: int) -> float:
    warmup = min(200, steps // 10 + 1)
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    for a, p in zip(averaged.parameters(), model.parameters(), strict=True):
        if p.requires_grad:
            a.lerp_(p, 1 - decay)


def _load_resume(
    path: Path, trainee: Trainee, optimiser: torch.optim.Optimizer, device: torch.device
) -> tuple[int, dict[str, Any]]:
    """The step and the best epoch of a killed training, its state put in place."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if state.get("trainee", trainee.name) != trainee.name:
            raise ValueError
        for part, model in (("model", trainee.model), ("averaged", trainee.averaged)):
            if state[part].keys() != trainee.resumed(model).keys():
                raise ValueError
            model.load_state_dict(state[part], strict=False)
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"]), json.loads(state["best"])
    except Exception as error:  # a broken file fails to load in many ways
        raise TrainingError(
            f"{path}: not of a training like this one; delete it to start afresh, "
            "or use the start and --lora it began with"
        ) from error


def _save_resume(
    path: Path,
    trainee: Trainee,
    optimiser: torch.optim.Optimizer,
    step: int,
    best: dict[str, Any],
) -> None:
    partial = path.with_suffix(".part")
    torch.save(
        {
            "trainee": trainee.name,
            "model": trainee.resumed(trainee.model),
            "averaged": trainee.resumed(trainee.averaged),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "best": json.dumps(best),
        },
        partial,
    )
    partial.replace(path)
