"""Segmenters by name: their weights files, their names, and loading them."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mcn.analyzer import Segmenter
from mcn.mask import Mask
from mcn.segment.inference.calibration import Calibration
from mcn.segment.inference.candidates import GPU_SETTINGS, GeneratorSettings, check_image
from mcn.segment.inference.encoded_picture import EncodedPicture
from mcn.segment.inference.mask_generator import generate, generate_in_steps
from mcn.segment.inference.predictor import predict
from mcn.segment.inference.prompts import check_prompts
from mcn.segment.inference.sam_segmenter import SamSegmenter
from mcn.segment.inference.tiling import SMALLEST_WINDOW
from mcn.segment.inference.watershed import WatershedSegmenter
from mcn.segment.modeling.checkpoints import (
    CHECKPOINTS,
    WeightsError,
    fetch_checkpoint,
    is_full_size,
    load_model,
    read_metadata,
)
from mcn.segment.modeling.compact_sam import CompactSam, channels_last
from mcn.segment.names import PROMPTS, SegmenterError, split_prompts


class CompactSegmenter:
    """Segments with a compact SAM, which proposes its own prompts.

    Parameters
    ----------
    model : CompactSam
        On the device where it runs.
    name : str
        As in the rows of the catalogue.
    settings : GeneratorSettings
        Thresholds and batch sizes.
    calibration : Calibration
        Maps scores to the `predicted_iou` of the masks.
    """

    def __init__(
        self,
        model: CompactSam,
        name: str,
        settings: GeneratorSettings = GeneratorSettings(),
        calibration: Calibration = Calibration(),
    ) -> None:
        self.model = model.eval()
        self.name = name
        self.settings = settings
        self.calibration = calibration

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        """Disjoint masks of the crystals in each (H, W) image."""
        return [self._calibrated(masks) for masks in generate(self.model, images, self.settings)]

    def segment_in_steps(self, image: NDArray[np.uint8]) -> Generator[float, None, list[Mask]]:
        """The masks of one (H, W) image, window by window; see `generate_in_steps`."""
        check_image(image)
        return self._calibrated((yield from generate_in_steps(self.model, image, self.settings)))

    def _calibrated(self, masks: list[Mask]) -> list[Mask]:
        estimates = self.calibration([mask.predicted_iou for mask in masks]).tolist()
        return [
            replace(mask, predicted_iou=estimate)
            for mask, estimate in zip(masks, estimates, strict=True)
            if estimate >= self.settings.min_estimated_iou
        ]

    def in_smaller_windows(self) -> CompactSegmenter | None:
        """The same model with a smaller memory peak; None if it cannot be smaller."""
        if self.settings.window == SMALLEST_WINDOW:
            return None
        window = max(self.settings.window // 2, SMALLEST_WINDOW)
        pixels = self.settings.pixels_per_batch // 4
        settings = replace(self.settings, window=window, pixels_per_batch=pixels)
        return CompactSegmenter(self.model, self.name, settings, self.calibration)

    def predict(
        self,
        image: NDArray[np.uint8],
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        encoded: EncodedPicture | None = None,
    ) -> list[Mask]:
        """The crystal at each of N prompts in an (H, W) image; see `check_prompts`.

        `encoded` keeps what was encoded of the image for the next call.
        """
        check_image(image)
        prompts = check_prompts(image.shape, points, labels, boxes)
        return predict(self.model, image, prompts, self.settings, encoded)


def weights_path(model: str) -> Path:
    """The weights file of a segmenter, by name or path; Meta's are downloaded on first use.

    Raises
    ------
    SegmenterError, CheckpointError
        If there is no such segmenter, or its weights cannot be downloaded.
    """
    if model == "compact":
        return Path(str(resources.files("mcn") / "weights" / "compact.safetensors"))
    if model in CHECKPOINTS:
        return fetch_checkpoint(model)
    path = Path(model)
    if not path.is_file():
        names = ", ".join(("compact", *CHECKPOINTS, "watershed"))
        raise SegmenterError(
            f"{model}: no such segmenter; use one of {names}, or the path of a weights file"
        )
    return path


def segmenter_name(model: str = "compact") -> str:
    """`name@first-12-of-sha256` of a segmenter, without loading it.

    The name of a full-size SAM states its prompts: `vit_b+proposals@…`, `vit_b+grid@…`.

    Raises
    ------
    SegmenterError, CheckpointError, WeightsError
        As `load_segmenter`.
    """
    base, prompts = split_prompts(model)
    if base == "watershed":
        if prompts:
            raise SegmenterError("watershed takes no prompts; leave out --prompts")
        return WatershedSegmenter().name
    path = weights_path(base)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = base if base in CHECKPOINTS else path.stem
    if is_full_size(path):
        name = f"{name}+{prompts or PROMPTS[0]}"
    elif prompts:
        raise SegmenterError(f"{base} proposes its own prompts; leave out {prompts!r}")
    return f"{name}@{digest[:12]}"


def load_segmenter(model: str = "compact", device: str | None = None) -> Segmenter:
    """Load a segmenter.

    Parameters
    ----------
    model : str
        `compact`; `vit_b`, `vit_l` or `vit_h`; `watershed`, the baseline; or the path of
        weights from `mcn train segmenter`, or in Meta's layout. A full-size SAM takes the
        crystals that `compact` proposes as prompts, or a regular grid of points with `+grid`
        after its name or path.
    device : str, optional
        Torch device; by default a GPU if there is one.

    Raises
    ------
    SegmenterError, CheckpointError, WeightsError
        If there is no such segmenter, or its weights cannot be downloaded or used.
    """
    if model == "watershed":
        return WatershedSegmenter()
    device_name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    base, prompts = split_prompts(model)
    name, path = segmenter_name(model), weights_path(base)
    loaded = load_model(path).to(device_name)
    if isinstance(loaded, CompactSam):
        settings = GeneratorSettings() if device_name == "cpu" else GPU_SETTINGS
        return CompactSegmenter(channels_last(loaded), name, settings, _calibration(path))
    if prompts == "grid":
        return SamSegmenter(loaded, name)
    proposer = load_model(weights_path("compact")).to(device_name)
    return SamSegmenter(loaded, name, proposer=channels_last(proposer))


def _calibration(path: Path) -> Calibration:
    """The calibration in a weights file; scores as they are if it has none."""
    text = read_metadata(path).get("calibration")
    try:
        return Calibration.from_json(text) if text else Calibration()
    except ValueError as error:
        raise WeightsError(f"{path}: its calibration cannot be used ({error})") from error
