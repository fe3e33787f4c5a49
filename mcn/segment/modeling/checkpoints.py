"""Weights files of the segmenters: reading, writing, and Meta's downloads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import Tensor, nn

from mcn.errors import McnError
from mcn.io.download import DownloadError, cache, download
from mcn.segment.modeling.compact_sam import CompactSam, build_compact

_DECODER_HEADS = 8
_META_TENSOR = "image_encoder.pos_embed"
_META_BLOCKS = "image_encoder.blocks."
_MODEL_KEYS = ("model_state", "model_state_dict", "state_dict", "model", "net", "network")
"""Where trainings of other programs keep their model's tensors."""
_DEEPEST = 4
"""Mappings within each other in which these are looked for."""


class WeightsError(McnError):
    """A weights file that cannot be read, or does not belong to a segmenter."""


def load_model(path: Path) -> CompactSam | Any:
    """The model of a weights file, in single precision on the CPU.

    Parameters
    ----------
    path : Path
        Written by `mcn train segmenter`, or one of Meta's; recognised by its tensors.

    Returns
    -------
    CompactSam or segment_anything.modeling.Sam

    Raises
    ------
    WeightsError
        If the file is missing or contains something else.
    """
    state = _read_tensors(path)
    try:
        model = sam_like(state) if _is_metas(state) else build_compact()
        differences = _differences(model.state_dict(), state)
        if not differences:
            model.load_state_dict(state)
    except KeyError as error:
        raise _not_weights(path, f"the tensor {error} is missing") from error
    except (RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError) as error:
        raise _not_weights(path, f"its tensors do not fit together: {error}") from error
    if differences:
        raise _not_weights(path, differences)
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise _not_weights(path, f"{broken[0]} has values that are not finite")
    return model


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file states beside its tensors; empty for other files."""
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError:
        return {}


def is_full_size(path: Path) -> bool:
    """Whether a weights file is of a full-size SAM, in Meta's layout."""
    return _is_metas(_read_tensors(path))


def _is_metas(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors are named as in Meta's layout, perhaps without some."""
    return any(name.startswith((_META_BLOCKS, _META_TENSOR)) for name in state)


def _differences(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """How the names and shapes of tensors differ from those of a model; empty if not at all."""
    common = expected.keys() & state.keys()
    kinds = {
        "missing": expected.keys() - state.keys(),
        "unknown": state.keys() - expected.keys(),
        "of another shape": {
            f"{name} {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
            for name in common
            if expected[name].shape != state[name].shape
        },
    }
    parts = []
    for kind, names in kinds.items():
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            count = "1 tensor" if len(names) == 1 else f"{len(names)} tensors"
            parts.append(f"{count} {kind}: {', '.join(sorted(names)[:3])}{more}")
    return "; ".join(parts)


def save_weights(state: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write tensors in half precision as safetensors, completely or not at all."""
    half = {name: t.detach().half().contiguous().cpu() for name, t in state.items()}
    partial_file = path.with_suffix(".part")
    partial_file.write_bytes(save(half, metadata))
    partial_file.replace(path)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file; of a checkpoint of other programs, those of its model.

    Fine-tuned models of the same layout often lie within a training's state, such as
    `model_state` of micro-sam, or have a prefix before each name.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    tensors: dict[str, Tensor]
    try:
        tensors = load_file(path)
    except SafetensorError:  # perhaps a torch file, as Meta publishes them
        tensors = _read_torch_file(path)
    prefixes = [name.partition(_META_BLOCKS)[0] for name in tensors if _META_BLOCKS in name]
    prefix = prefixes[0] if prefixes else ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _read_torch_file(path: Path) -> dict[str, Tensor]:
    """The tensors of the model in a torch file, perhaps within a training's state."""
    try:
        with path.open("rb") as file:  # recognised by its content, not its name
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # untrusted bytes fail to unpickle in many ways
        kind = re.search(r"GLOBAL (\S+)", str(error))
        reason = (
            f"with an object of {kind[1]} in it"
            if kind
            else "damaged, or with more than tensors in it"
        )
        raise _not_weights(path, reason) from error
    for _ in range(_DEEPEST):  # A file may contain itself.
        if not isinstance(state, Mapping):
            break
        nested = [state[key] for key in _MODEL_KEYS if isinstance(state.get(key), Mapping)]
        if not nested:
            return {str(name): t for name, t in state.items() if isinstance(t, Tensor)}
        state = nested[0]
    raise _not_weights(path, "no tensors by name in it")


def _not_weights(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{path}: not weights of a segmenter, compact or in Meta's layout ({reason}); "
        "make them with 'mcn train segmenter' or fetch them with 'mcn weights fetch vit_b'"
    )


def sam_like(state: Mapping[str, Tensor]) -> Any:
    """A `segment_anything.modeling.Sam` with the sizes of a checkpoint's tensors.

    Parameters
    ----------
    state : mapping of str to tensor
        In Meta's layout: ViT-B, -L, -H, or another size of the same architecture whose mask
        decoder has 8 attention heads, as in Meta's models.
    """
    blocks, layers = "image_encoder.blocks", "mask_decoder.transformer.layers"
    head, mlp = "mask_decoder.iou_prediction_head.layers", "mlp.lin1.weight"
    grid, width = state[_META_TENSOR].shape[2:]
    patch = state["image_encoder.patch_embed.proj.weight"].shape[-1]
    depth = _count(state, blocks)
    spans = [(len(state[f"{blocks}.{i}.attn.rel_pos_h"]) + 1) // 2 for i in range(depth)]
    dim = len(state["mask_decoder.iou_token.weight"][0])
    return Sam(
        ImageEncoderViT(
            img_size=grid * patch,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=width // state[f"{blocks}.0.attn.rel_pos_h"].shape[1],
            mlp_ratio=len(state[f"{blocks}.0.{mlp}"]) / width,
            out_chans=dim,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=min(spans) if min(spans) < grid else 0,
            global_attn_indexes=[i for i, span in enumerate(spans) if span == grid],
        ),
        PromptEncoder(
            embed_dim=dim,
            image_embedding_size=(grid, grid),
            input_image_size=(grid * patch, grid * patch),
            mask_in_chans=len(state["prompt_encoder.mask_downscaling.3.weight"]),
        ),
        MaskDecoder(
            transformer_dim=dim,
            transformer=TwoWayTransformer(
                depth=_count(state, layers),
                embedding_dim=dim,
                num_heads=_DECODER_HEADS,
                mlp_dim=len(state[f"{layers}.0.{mlp}"]),
            ),
            num_multimask_outputs=len(state["mask_decoder.mask_tokens.weight"]) - 1,
            iou_head_depth=_count(state, head),
            iou_head_hidden_dim=len(state[f"{head}.0.weight"]),
        ),
    )


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Number of modules in the list with this prefix."""
    return len(
        {name[len(prefix) + 1 :].split(".")[0] for name in state if name.startswith(f"{prefix}.")}
    )


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


def cached_checkpoint(model: str) -> Path | None:
    """The cached file of one of Meta's checkpoints; None if it was not downloaded."""
    path = cache() / CHECKPOINTS[model].file
    return path if path.is_file() else None


def fetch_checkpoint(model: str, *, progress: bool = False) -> Path:
    """The cached file of one of Meta's checkpoints, downloaded once and checked by sha256.

    Raises
    ------
    CheckpointError
        If it cannot be downloaded or its checksum is wrong.
    """
    checkpoint = CHECKPOINTS[model]
    try:
        return download(checkpoint.url, checkpoint.sha256, checkpoint.file, progress=progress)
    except DownloadError as error:
        raise CheckpointError(
            f"{model}: {error}; put the file in {cache()} manually, or give its path"
        ) from error
