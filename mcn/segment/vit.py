"""Meta's Segment Anything (ViT-B, -L, -H), driven by a regular grid of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import torch
from numpy.typing import NDArray
from segment_anything import sam_model_registry
from segment_anything.utils.amg import build_point_grid
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mcn.errors import McnError
from mcn.mask import Mask
from mcn.segment.candidates import Candidates, GeneratorSettings, steady
from mcn.segment.resolve import resolve


class CheckpointError(McnError):
    """A Segment Anything checkpoint that cannot be fetched or read."""


@dataclass(frozen=True)
class Checkpoint:
    """One of Meta's released checkpoints: its file name and sha256."""

    file: str
    sha256: str

    @property
    def url(self) -> str:
        """Where Meta publishes it."""
        return f"https://dl.fbaipublicfiles.com/segment_anything/{self.file}"


CHECKPOINTS = {
    "vit_b": Checkpoint(
        "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "vit_l": Checkpoint(
        "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "vit_h": Checkpoint(
        "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
}
_ARCHITECTURES = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
VIT_SETTINGS = replace(GeneratorSettings(), min_predicted_iou=0.88, min_stability=0.9)


def cached_checkpoint(model: str) -> Path | None:
    """The cached file of one of Meta's checkpoints; None where it was never fetched."""
    path = Path(pooch.os_cache("mcn")) / CHECKPOINTS[model].file
    return path if path.is_file() else None


def fetch_checkpoint(model: str, *, progress: bool = False) -> Path:
    """The cached file of one of Meta's checkpoints, fetched once and checked by sha256.

    Raises
    ------
    CheckpointError
        Where it cannot be fetched or is not what Meta published.
    """
    checkpoint = CHECKPOINTS[model]
    folder = pooch.os_cache("mcn")
    try:
        return Path(
            pooch.retrieve(
                checkpoint.url,
                known_hash=f"sha256:{checkpoint.sha256}",
                fname=checkpoint.file,
                path=folder,
                progressbar=progress,
            )
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{model}: cannot be fetched from {checkpoint.url} ({reason}); "
            f"put the file in {folder} by hand, or name its path"
        ) from error


def load_sam(path: Path) -> Any:
    """The `segment_anything` model of a checkpoint in Meta's layout.

    Raises
    ------
    CheckpointError
        Where the file is no such checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        architecture = _ARCHITECTURES[state["image_encoder.pos_embed"].shape[-1]]
        sam = sam_model_registry[architecture]()
        sam.load_state_dict(state)
    except Exception as error:
        raise CheckpointError(f"{path}: not a Segment Anything checkpoint of Meta's") from error
    return sam


class GridSegmenter:
    """A full-size Segment Anything prompted on a regular grid.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        On the device it is to run on.
    name : str
        As catalogue rows show it.
    points_per_side : int
        Prompts along each side of the image.
    settings : GeneratorSettings
        What counts as a crystal.
    """

    def __init__(
        self,
        sam: Any,
        name: str,
        points_per_side: int = 32,
        settings: GeneratorSettings = VIT_SETTINGS,
    ) -> None:
        self.sam = sam.eval()
        self.name = name
        self.points_per_side = points_per_side
        self.settings = settings

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        """Disjoint masks of the crystals in each (H, W) image."""
        with torch.inference_mode():
            return [self._segment_one(image) if image.size else [] for image in images]

    def _segment_one(self, image: NDArray[np.uint8]) -> list[Mask]:
        height, width = image.shape
        frame = self.sam.image_encoder.img_size
        scale = frame / max(height, width)
        device = self.sam.pixel_mean.device
        grey = torch.from_numpy(np.ascontiguousarray(image)).to(device).float()[None, None]
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        resized = F.interpolate(grey, size, mode="bilinear", antialias=True)
        with torch.autocast(device.type, torch.bfloat16):
            embedding = self.sam.image_encoder(self.sam.preprocess(resized.expand(-1, 3, -1, -1)))
        grid = build_point_grid(self.points_per_side) * np.array([size[1], size[0]])
        points = torch.as_tensor(grid, dtype=torch.float32, device=device)
        side = max(height, width)
        kept = [
            self._decode(embedding, part) for part in points.split(self.settings.prompts_per_batch)
        ]
        logits, quality, stability = (torch.cat(part) for part in zip(*kept, strict=True))
        window = torch.tensor([0.0, 0.0, side, side], device=device)
        candidates = Candidates(
            logits=logits,
            windows=window.expand(len(logits), 4),
            predicted_iou=quality,
            stability=stability,
            scores=quality,
            image_index=torch.zeros(len(logits), dtype=torch.long, device=device),
        )
        return resolve(candidates, 0, image.shape, self.settings)

    def _decode(self, embedding: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (n, 256, 256), IoU and stability of the masks worth keeping."""
        sam = self.sam
        labels = torch.ones(len(points), 1, dtype=torch.long, device=points.device)
        sparse, dense = sam.prompt_encoder((points[:, None], labels), None, None)
        logits, iou = sam.mask_decoder(
            image_embeddings=embedding.float(),
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        return steady(logits.flatten(0, 1), iou.flatten(), self.settings)[:3]
