"""Segmenters by name: loading weights, naming them, finding crystals with them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mcn.analyzer import Segmenter
from mcn.errors import McnError
from mcn.mask import Mask
from mcn.segment.inference.candidates import GPU_SETTINGS, GeneratorSettings
from mcn.segment.inference.mask_generator import generate
from mcn.segment.inference.predictor import predict
from mcn.segment.inference.prompts import read_clicks
from mcn.segment.inference.sam_segmenter import GridSegmenter
from mcn.segment.inference.tiling import SMALLEST_WINDOW
from mcn.segment.inference.watershed import WatershedSegmenter
from mcn.segment.modeling.checkpoints import CHECKPOINTS, fetch_checkpoint, load_model
from mcn.segment.modeling.compact_sam import CompactSam, channels_last


class SegmenterError(McnError):
    """A segmenter that cannot be found."""


class CompactSegmenter:
    """A compact SAM that proposes its own prompts.

    Parameters
    ----------
    model : CompactSam
        On the device it is to run on.
    name : str
        As catalogue rows show it.
    settings : GeneratorSettings
        What counts as a crystal.
    """

    def __init__(
        self, model: CompactSam, name: str, settings: GeneratorSettings = GeneratorSettings()
    ) -> None:
        self.model = model.eval()
        self.name = name
        self.settings = settings

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        """Disjoint masks of the crystals in each (H, W) image."""
        return generate(self.model, images, self.settings)

    def in_smaller_windows(self) -> CompactSegmenter | None:
        """The same model that needs less memory at once; None where it can do with no less."""
        if self.settings.window == SMALLEST_WINDOW:
            return None
        window = max(self.settings.window // 2, SMALLEST_WINDOW)
        pixels = self.settings.pixels_per_batch // 4
        settings = replace(self.settings, window=window, pixels_per_batch=pixels)
        return CompactSegmenter(self.model, self.name, settings)

    def predict(
        self,
        image: NDArray[np.uint8],
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
    ) -> list[Mask]:
        """The crystal that each of N prompts means in an (H, W) image; see `read_clicks`."""
        return predict(
            self.model, image, read_clicks(image.shape, points, labels, boxes), self.settings
        )


def weights_path(model: str) -> Path:
    """The weights file of a segmenter, named or by path; Meta's are fetched when first asked for.

    Raises
    ------
    SegmenterError, CheckpointError
        Where there is no such segmenter, or its weights cannot be had.
    """
    if model == "compact":
        return Path(str(resources.files("mcn") / "weights" / "compact.safetensors"))
    if model in CHECKPOINTS:
        return fetch_checkpoint(model)
    path = Path(model)
    if not path.is_file():
        named = ", ".join(("compact", *CHECKPOINTS, "watershed"))
        raise SegmenterError(
            f"{model}: no such segmenter; use one of {named}, or the path of a weights file"
        )
    return path


def segmenter_name(model: str = "compact") -> str:
    """`name@first-12-of-sha256` of a segmenter, without loading it."""
    if model == "watershed":
        return WatershedSegmenter().name
    path = weights_path(model)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{model if model in CHECKPOINTS else path.stem}@{digest[:12]}"


def load_segmenter(model: str = "compact", device: str | None = None) -> Segmenter:
    """Load a segmenter.

    Parameters
    ----------
    model : str
        `compact`; `vit_b`, `vit_l` or `vit_h`; `watershed`, the baseline; or the path of
        weights made by `mcn train segmenter`, or in Meta's layout.
    device : str, optional
        Torch device; a GPU where there is one otherwise.

    Raises
    ------
    SegmenterError, CheckpointError, WeightsError
        Where there is no such segmenter, or its weights cannot be had or used.
    """
    if model == "watershed":
        return WatershedSegmenter()
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    path, name = weights_path(model), segmenter_name(model)
    loaded = load_model(path).to(where)
    if isinstance(loaded, CompactSam):
        settings = GeneratorSettings() if where == "cpu" else GPU_SETTINGS
        return CompactSegmenter(channels_last(loaded), name, settings)
    return GridSegmenter(loaded, name)
