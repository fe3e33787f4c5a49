"""Processor seconds of the parts of the compact segmenter: encoder, decoder, overlaps.

One thread and one rendered tile, in each number format that this processor has: *plain*, Segment
Anything's own operations for every prompt; *rearranged*, the segmenter's operations for every
prompt; and *fewer prompts*, as the segmenter runs.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stock_sam import standardised
from torch import Tensor

from mcn.mask import Mask, encode_rle
from mcn.segment.evaluation.metrics import match
from mcn.segment.inference.candidates import Candidates, GeneratorSettings, filter_by_stability
from mcn.segment.inference.mask_generator import decode_proposals
from mcn.segment.inference.postprocess import suppress_overlaps
from mcn.segment.inference.proposals import Proposals, propose
from mcn.segment.modeling.compact_sam import CompactSam, PromptBatch
from mcn.segment.modeling.image_encoder import Features
from mcn.segment.modeling.mask_decoder import square_windows
from mcn.segment.modeling.number_format import number_format
from mcn.synthetic.renderer import TileSettings, render_tile

TILE = TileSettings(height=768, width=1024, diameter_um=3.4)
ARRANGEMENTS = ("plain", "rearranged", "fewer prompts")
PARTS = ("encoder", "decoder", "overlaps")
AGREES = 0.95
_PLAIN_PROMPTS = 64
_CPU = torch.device("cpu")


def processor() -> dict[str, Any]:
    """The name of this processor, and what torch can use of it."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass  # not Linux, or not x86
    return {
        "name": name,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "number_format": _dtype_name(number_format(_CPU)),
    }


def parts(model: CompactSam, settings: GeneratorSettings, runs: int = 3) -> dict[str, Any]:
    """Minimum processor seconds of each part over some runs, with the arrangements in turn.

    Each row also gives the share of the crystals of the plain arrangement in single precision
    that it finds with an IoU of at least `AGREES`.
    """
    tile = render_tile(0, TILE).image
    formats = dict.fromkeys((torch.float32, number_format(_CPU)))
    kinds = [(arrangement, dtype) for dtype in formats for arrangement in ARRANGEMENTS]
    seconds: dict[tuple[str, torch.dtype], list[NDArray[np.float64]]] = {}
    masks: dict[tuple[str, torch.dtype], list[Mask]] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(runs + 1):
            for kind in kinds:
                part_seconds, masks[kind] = _run(model, settings, tile, *kind)
                seconds.setdefault(kind, []).append(part_seconds)
    finally:
        torch.set_num_threads(threads)
    rows = []
    truth = masks["plain", torch.float32]
    plain_total = min(run.sum() for run in seconds["plain", torch.float32][1:])
    for (arrangement, dtype), all_runs in seconds.items():
        fastest = np.min(all_runs[1:], axis=0)  # the first warms up
        total = min(run.sum() for run in all_runs[1:])
        matched = match(truth, masks[arrangement, dtype], tile.shape, AGREES)
        rows.append(
            {
                "arrangement": arrangement,
                "engine": "torch",
                "format": _dtype_name(dtype),
                **{name: round(float(s), 3) for name, s in zip(PARTS, fastest, strict=True)},
                "total": round(float(total), 3),
                "of_plain_fp32": round(float(total / plain_total), 3),
                "crystals": len(masks[arrangement, dtype]),
                "agreement": round(len(matched) / max(len(truth), 1), 4),
            }
        )
    return {"tile": list(tile.shape), "threads": 1, "rows": rows}


def _run(
    model: CompactSam,
    settings: GeneratorSettings,
    tile: NDArray[np.uint8],
    arrangement: str,
    dtype: torch.dtype,
) -> tuple[NDArray[np.float64], list[Mask]]:
    """Processor seconds of each part, and the masks."""
    plain = arrangement == "plain"
    if arrangement == "rearranged":
        settings = replace(settings, sure_centre=0.0)
    times = [process_time()]
    with torch.inference_mode():
        image = standardised(torch.from_numpy(tile)[None, None].float())
        with _plainly(model, plain and dtype == torch.float32), _in_format(dtype):
            features = model.image_encoder(image)
        times.append(process_time())
        sizes = [(tile.shape[0], tile.shape[1])]
        proposals = propose(
            features.proposal, sizes, settings.centre_threshold, settings.max_prompts
        )
        if plain:
            with _in_format(dtype):
                candidates = _plain_candidates(model, features, proposals, settings)
        else:
            candidates = decode_proposals(model, features, proposals, settings, dtype)
        times.append(process_time())
        masks = suppress_overlaps(candidates, 0, tile.shape, settings)
        encode_rle(masks, *tile.shape)
        times.append(process_time())
    return np.diff(times), masks


@contextmanager
def _plainly(model: CompactSam, plain: bool) -> Iterator[None]:
    """Run the encoder layer by layer, as in training."""
    model.image_encoder.train(plain)
    try:
        yield
    finally:
        model.image_encoder.eval()


def _in_format(dtype: torch.dtype) -> torch.autocast:
    return torch.autocast("cpu", dtype, enabled=dtype != torch.float32)


def _plain_candidates(
    model: CompactSam, features: Features, proposals: Proposals, settings: GeneratorSettings
) -> Candidates:
    windows = square_windows(proposals.boxes, settings.margin)
    kept: list[tuple[Tensor, ...]] = []
    for part in torch.arange(len(windows)).split(_PLAIN_PROMPTS):
        prompts = PromptBatch(
            windows=windows[part],
            image_index=proposals.image_index[part],
            points=proposals.points[part, None],
            labels=torch.ones_like(part[:, None]),
            boxes=proposals.boxes[part],
        )
        logits, iou = model.decode(features, prompts)
        *masks, chosen = filter_by_stability(logits[:, 0], iou[:, 0], settings)
        kept.append((*masks, part[chosen]))
    logits, quality, stability, index = (torch.cat(part) for part in zip(*kept, strict=True))
    scores = quality * proposals.scores[index].sqrt()
    return Candidates(
        logits, windows[index], quality, stability, scores, proposals.image_index[index]
    )


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
