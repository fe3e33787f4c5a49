"""The training loop of the segmenters."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from mcn.analyzer import Segmenter
from mcn.errors import McnError
from mcn.io.output_paths import prepare_file
from mcn.segment.dataset import DataError, Pair, list_pairs
from mcn.segment.evaluation.metrics import evaluate_images, evaluate_segmenter, rated_masks
from mcn.segment.inference.calibration import Calibration, fit_calibration
from mcn.segment.inference.candidates import GeneratorSettings
from mcn.segment.modeling.checkpoints import load_model, read_metadata, save_weights
from mcn.segment.modeling.compact_sam import CompactSam
from mcn.segment.modeling.number_format import autocast
from mcn.segment.segmenter import CompactSegmenter, load_segmenter
from mcn.segment.training.batches import check_patterns, read_folders, stream_batches
from mcn.segment.training.compact import CompactTask, from_imagenet
from mcn.segment.training.settings import SegmenterTrainSettings
from mcn.segment.training.vit import VitTask
from mcn.training_loop import EpochHistory, TrainingFiles, run_epochs

_MAX_SKIPPED_STEPS = 20
_CALIBRATION_MASKS = 2000
"""Masks of each laboratory that are drawn, with repetition, to fit the calibration."""


class TrainingError(McnError):
    """A training that cannot start or continue."""


@dataclass(frozen=True)
class Progress:
    """State of a training after a step; passed to the caller after each one."""

    step: int
    steps: int
    loss: float
    epoch: dict[str, Any] | None = None


class TrainingTask(Protocol):
    """What is trained and how: a model, the average of its weights, and its losses."""

    name: str
    """Identifies the resume files of this training."""

    @property
    def model(self) -> nn.Module:
        """The model in training."""

    @property
    def averaged(self) -> AveragedModel:
        """The average of its weights."""

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """The optimiser's parameter groups, each with its peak rate `lr`."""

    def losses(self, batch: dict[str, Tensor], correct: bool) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its parts; with a round of corrections if `correct`."""

    def segmenter(self) -> Segmenter:
        """A segmenter with the averaged weights."""

    def resume_state(self, model: nn.Module) -> dict[str, Tensor]:
        """The tensors of `model`, or of the averaged one, that a resume file needs."""

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights as they are written."""


def train_segmenter(
    folders: Sequence[Path],
    out: Path,
    settings: SegmenterTrainSettings = SegmenterTrainSettings(),
    start: nn.Module | None = None,
    on_step: Callable[[Progress], None] | None = None,
    left_out: Sequence[Path] = (),
) -> dict[str, Any]:
    """Train a segmenter and keep the best weights by held-out AP.

    Parameters
    ----------
    folders : sequence of Path
        Each with `images/` and `masks/`; every fifth image of each is held out. Batches draw
        from each folder equally often, twice as often if it is named twice; the AP is the mean
        over the folders.
    out : Path
        Weights to write (`.safetensors`). `.json`, with a line per epoch, and `.resume.pt`,
        from which a killed training continues, are written beside it.
    settings : SegmenterTrainSettings
        Training settings.
    start : CompactSam or segment_anything.modeling.Sam, optional
        Model to start from; by default a compact one with ImageNet's weights.
    on_step : callable, optional
        Called after each step.
    left_out : sequence of Path
        Folders of laboratories that take no part in the training. The best weights are
        evaluated on all their images at the end, which shows how well they do elsewhere.

    Returns
    -------
    dict
        The evaluation of the best epoch. `left_out` in it has that of each folder left out.

    Raises
    ------
    DataError
        If a folder cannot be used, or is both trained on and left out.
    TrainingError
        If the training cannot start or continue.
    MissingPackageError
        If there are no weights to start from.
    OutputError
        If `out` cannot be written.
    """
    if out.suffix != ".safetensors":
        raise TrainingError(
            f"{out}: weights are written as safetensors; use a name ending in .safetensors"
        )
    prepare_file(out)
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trained_on = {folder.resolve() for folder in folders}
    if both := [folder for folder in left_out if folder.resolve() in trained_on]:
        raise DataError(f"{both[0]}: is both trained on and left out; name it once")
    pairs_elsewhere = {str(folder): _checked_pairs(folder) for folder in left_out}
    named = [*pairs_elsewhere.values(), *(list_pairs(folder) for folder in folders)]
    check_patterns(settings.incomplete, [pair for pairs in named for pair in pairs])
    model = from_imagenet() if start is None else start
    sources, held_out = read_folders(folders, settings.max_images, settings.incomplete)
    task = make_task(model.to(device), settings)
    training = SegmenterTraining(task, out, settings, device)
    batches = stream_batches(sources, settings, training.step, device)
    training.run(batches, held_out, on_step or (lambda progress: None))
    if isinstance(model, CompactSam):
        calibrate_weights(out, held_out)
    best = training.best
    if pairs_elsewhere:
        segmenter = load_segmenter(str(out))
        elsewhere = {
            folder: evaluate_segmenter(segmenter, pairs)
            for folder, pairs in pairs_elsewhere.items()
        }
        best = {**best, "left_out": elsewhere}
    # Last, so that a command that is killed before does not train again.
    training.files.finish()
    return best


def _checked_pairs(folder: Path) -> list[Pair]:
    """Pairs whose files can be read: a bad one is reported before hours of training."""
    pairs = list_pairs(folder)
    for pair in pairs:
        pair.read()
    return pairs


def calibrate_weights(path: Path, held_out: Sequence[Sequence[Pair]]) -> Calibration:
    """Fit the calibration of a compact segmenter and write it into its weights file.

    Parameters
    ----------
    path : Path
        Weights (`.safetensors`); an earlier calibration is replaced.
    held_out : sequence of sequence of Pair
        Pairs of each laboratory, which took no part in the training. Each laboratory counts
        equally, however many crystals it has.
    """
    model = load_model(path)
    # The unsure masks are needed too: the estimate is what drops them later.
    settings = GeneratorSettings(min_estimated_iou=0.0)
    segmenter = CompactSegmenter(model, path.stem, settings)
    scores, ious = [], []
    rng = np.random.default_rng(0)
    for pairs in held_out:
        rated = [rated_masks(image) for image in evaluate_images(segmenter, pairs)]
        of_folder = np.concatenate([*rated, np.zeros((0, 2))])
        if len(of_folder):
            drawn = of_folder[rng.integers(len(of_folder), size=_CALIBRATION_MASKS)]
            scores.append(drawn[:, 0])
            ious.append(drawn[:, 1])
    calibration = fit_calibration(
        np.concatenate([*scores, np.zeros(0)]), np.concatenate([*ious, np.zeros(0)])
    )
    metadata = {**read_metadata(path), "calibration": calibration.to_json()}
    save_weights(model.state_dict(), path, metadata)
    return calibration


def make_task(model: nn.Module, settings: SegmenterTrainSettings) -> TrainingTask:
    """The training task for a model (compact or Meta's), on the model's device."""
    if not isinstance(model, CompactSam):
        return VitTask(model, settings.lora, settings.ema)
    if settings.lora:
        raise TrainingError("adapters (LoRA) need the attention of vit_b, vit_l or vit_h")
    return CompactTask(model, settings.proposed, settings.ema)


class SegmenterTraining:
    """The state of a training: its optimiser, its best epoch and the files beside `out`.

    Parameters
    ----------
    task : TrainingTask
        What is trained, on `device`.
    out : Path
        Weights to write. If there is a resume file beside it, the training continues from there.
    settings : SegmenterTrainSettings
        Training settings.
    device : torch.device
        Where the training runs.

    Raises
    ------
    TrainingError
        If the resume file belongs to another training.
    """

    def __init__(
        self, task: TrainingTask, out: Path, settings: SegmenterTrainSettings, device: torch.device
    ) -> None:
        self.task, self.out, self.settings, self.device = task, out, settings, device
        self.files, self.history = TrainingFiles(out, ".json"), EpochHistory()
        self.parameters = [p for p in task.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            task.parameter_groups(settings.rate), weight_decay=settings.weight_decay
        )
        self.step, self.loss = 0, math.nan
        self.best: dict[str, Any] = {}
        if self.files.resume.exists():
            self._load()
        else:
            self.files.start()
        self.schedule = LambdaLR(
            self.optimiser, lambda step: rate_factor(step, settings.steps), self.step - 1
        )
        self.rng = np.random.default_rng(settings.seed)
        self.started = time.monotonic()
        self.loss_sums: dict[str, float] = {}
        self.learnt_steps = self.skipped_steps = 0
        self._batches: Iterator[dict[str, Tensor]] = iter(())
        self._held_out: Sequence[Sequence[Pair]] = ()
        self._on_step: Callable[[Progress], None] = lambda progress: None

    def run(
        self,
        batches: Iterator[dict[str, Tensor]],
        held_out: Sequence[Sequence[Pair]],
        on_step: Callable[[Progress], None],
    ) -> None:
        """Train the remaining steps.

        Parameters
        ----------
        batches : iterator
            One batch per step.
        held_out : sequence of sequence of Pair
            Held-out pairs of each folder, which choose the best epoch.
        on_step : callable
            Called after each step; after the last step of an epoch when its files are written.
        """
        self._batches, self._held_out, self._on_step = batches, held_out, on_step
        epochs = math.ceil(self.settings.steps / self.settings.epoch)
        run_epochs(self, self.files, self.history, epochs, on_epoch=self._report)

    def train_epoch(self, epoch: int) -> tuple[float, dict[str, Any]]:
        """Train one epoch; returns the AP of the averaged weights and the line of the log."""
        last = min(epoch * self.settings.epoch, self.settings.steps)
        while self.step < last:
            self._train_step(next(self._batches))
            if self.step < last:
                self._report()
        segmenter = self.task.segmenter()
        metrics = [evaluate_segmenter(segmenter, pairs) for pairs in self._held_out]
        ap = float(np.mean([folder["ap"] or 0.0 for folder in metrics]))
        line = {
            "step": self.step,
            "minutes": round((time.monotonic() - self.started) / 60, 1),
            **{name: round(total / self.learnt_steps, 4) for name, total in self.loss_sums.items()},
            "ap": ap,
            "folders": metrics,
        }
        self.learnt_steps, self.loss_sums = 0, {}
        return ap, line

    def keep_best(self, line: dict[str, Any]) -> None:
        """Write the averaged weights, which are the best so far."""
        self.best = line
        metadata = {"recipe": json.dumps(asdict(self.settings))}
        save_weights(self.task.weights(), self.out, metadata)

    def state(self) -> dict[str, Any]:
        """The content of the resume file."""
        task = self.task
        return {
            "trainee": task.name,
            "model": task.resume_state(task.model),
            "averaged": task.resume_state(task.averaged.module),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "best": json.dumps(self.best),
        }

    def _report(self, epoch: dict[str, Any] | None = None) -> None:
        self._on_step(Progress(self.step, self.settings.steps, self.loss, epoch))

    def _train_step(self, batch: dict[str, Tensor]) -> None:
        """Learn from a batch. A step without a finite loss changes nothing.

        Raises
        ------
        TrainingError
            If too many steps in a row had no finite loss.
        """
        task, settings = self.task, self.settings
        with autocast(self.device):
            loss, parts = task.losses(batch, self.rng.random() < settings.correction)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, settings.clip)
        self.step += 1
        if torch.isfinite(loss) and torch.isfinite(norm):
            self.optimiser.step()
            self.schedule.step()
            task.averaged.update_parameters(task.model)
            self.learnt_steps, self.skipped_steps = self.learnt_steps + 1, 0
            for name, value in parts.items():
                self.loss_sums[name] = self.loss_sums.get(name, 0.0) + value
        else:
            self.skipped_steps += 1
        if self.skipped_steps == _MAX_SKIPPED_STEPS:
            raise TrainingError(
                f"{self.out}: the loss of {self.skipped_steps} steps in a row is not finite, at "
                f"step {self.step}; start again with a rate below {settings.rate:g}"
            )
        self.loss = float(loss.detach())

    def _load(self) -> None:
        """Continue from the resume file."""
        task = self.task
        try:
            state = self.files.read_state(self.device) or {}
            if state.get("trainee", task.name) != task.name:
                raise ValueError
            for part, model in (("model", task.model), ("averaged", task.averaged.module)):
                if state[part].keys() != task.resume_state(model).keys():
                    raise ValueError
                model.load_state_dict(state[part], strict=False)
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.best = int(state["step"]), json.loads(state["best"])
        except Exception as error:  # a broken file fails to load in many ways
            raise TrainingError(
                f"{self.files.resume}: belongs to another training; delete it to start over, "
                "or use the same start and --lora as before"
            ) from error
        self.history.epoch = self.step // self.settings.epoch
        self.history.best_score = self.best["ap"]
        # The number of updates so far, and the peak rates, are not in files of older versions.
        task.averaged.n_averaged.fill_(self.step)
        for group in self.optimiser.param_groups:
            group.setdefault("initial_lr", group.get("peak", group["lr"]))


def rate_factor(step: int, steps: int) -> float:
    """Learning rate of a step as a share of the peak rate: linear warm-up, then half a cosine."""
    warmup = min(200, steps // 10 + 1)
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
