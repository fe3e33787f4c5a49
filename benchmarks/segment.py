"""Speed of mask generation, compared with `segment_anything.SamAutomaticMaskGenerator`.

Same weights, same rendered tile, same prompts, same thresholds: for the compact segmenter and for
a ViT-B of Meta's architecture (Meta's checkpoint if it can be downloaded, else random weights).
Each side runs in a separate process, so that its peak memory can be measured. Prints one JSON
object.

    python benchmarks/segment.py [--points-per-side N]

The report names the processor and has the parts of the compact segmenter (`compact_parts`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco

from mcn.mask import RLE, encode_rle
from mcn.segment import load_segmenter
from mcn.segment.inference.candidates import Candidates, GeneratorSettings
from mcn.segment.inference.mask_generator import decode_proposals
from mcn.segment.inference.postprocess import full_size, tight
from mcn.segment.inference.proposals import propose
from mcn.segment.inference.sam_segmenter import VIT_CPU_SETTINGS, SamSegmenter
from mcn.segment.modeling.checkpoints import CheckpointError, fetch_checkpoint, load_model
from mcn.segment.modeling.compact_sam import CompactSam
from mcn.segment.modeling.number_format import autocast
from mcn.segment.segmenter import CompactSegmenter
from mcn.synthetic.renderer import TileSettings, render_tile

MATCH_IOU = 0.9
SIDE = (
    *("decode_seconds", "decode_cpu_seconds", "end_to_end_seconds", "end_to_end_cpu_seconds"),
    *("n_masks", "peak_mib", "peak_above_model_mib"),
)
# Random weights score all masks alike: these thresholds keep four in ten. Their masks are
# scattered over the whole frame and their boxes are nearly equal, so suppression by box would
# leave four of hundreds of masks. It is switched off on both sides, and all masks that pass the
# filters are kept.
RANDOM_SETTINGS = replace(
    VIT_CPU_SETTINGS,
    min_predicted_iou=0.05,
    min_stability=0.6,
    max_duplicate_iou=1.0,
    max_masks=4096,
)
COMPACT_TILE = TileSettings(height=512, width=512, diameter_um=1.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points-per-side", type=int, default=32, help="prompts of the ViT-B")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(MEASURES[options.measure](options.points_per_side)))
        return

    def measure(name: str) -> Any:
        say(name)
        command = [sys.executable, __file__, "--measure", name]
        command += ["--points-per-side", str(options.points_per_side)]
        result = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=3600, check=True
        )
        return json.loads(result.stdout.splitlines()[-1])

    end_to_end = measure("compact_segment")
    small, large = measure("compact_512"), measure("compact_large")
    report: dict[str, Any] = {
        **measure("compact_parts"),
        "torch_threads": torch.get_num_threads(),
        "compact": compare(measure("compact_stock"), measure("compact_ours")),
        "vit_b": compare(measure("vit_b_stock"), measure("vit_b_ours")),
    }
    stock_seconds = report["vit_b"]["stock"]["end_to_end_seconds"]
    report["compact_segment"] = end_to_end
    cpu_seconds = report["vit_b"]["stock"]["end_to_end_cpu_seconds"]
    report["compact_speedup_on_stock_vit_b"] = round(stock_seconds / end_to_end["seconds"], 1)
    report["compact_cpu_speedup_on_stock_vit_b"] = round(cpu_seconds / end_to_end["cpu_seconds"], 1)
    report["compact_512_seconds"] = small["seconds"]
    report["compact_512_cpu_seconds"] = small["cpu_seconds"]
    report["compact_512_crystals"] = small["crystals"]
    report["compact_large"] = large
    print(json.dumps(report))


def compare(stock: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """The measurements of both sides, and the agreement of their masks."""
    stock_masks, our_masks = stock.pop("masks"), ours.pop("masks")
    crowd = [0] * len(stock_masks)
    both = our_masks and stock_masks
    shared = coco.iou(our_masks, stock_masks, crowd) if both else np.zeros((1, 1))
    return {
        **{key: ours[key] for key in ("weights", "prompts", "thresholds")},
        "speedup": round(stock["decode_seconds"] / ours["decode_seconds"], 2),
        "cpu_speedup": round(stock["decode_cpu_seconds"] / ours["decode_cpu_seconds"], 2),
        "mask_agreement": round(float((shared.max(axis=0) >= MATCH_IOU).mean()), 4),
        "stock": {key: stock[key] for key in SIDE},
        "ours": {key: ours[key] for key in SIDE},
    }


def compact_ours(_: int) -> dict[str, Any]:
    model, tile = compact(), rendered_tile()
    settings = replace(GeneratorSettings(), sure_centre=0.0)  # as many prompts as the other side
    reset_peak()
    before = resident_mib()
    clock = Clock()
    features, proposals = compact_prompts(model, settings, tile)
    clock.encoded()
    with torch.inference_mode(), autocast(torch.device("cpu")):
        candidates = decode_proposals(model, features, proposals, settings)
    masks = overlapping(candidates, tile.shape)
    return measurements(masks, clock, before, "compact", len(proposals.points), settings)


def compact_stock(_: int) -> dict[str, Any]:
    from stock_sam import CompactAsSam

    model, settings, tile = compact(), GeneratorSettings(), rendered_tile()
    _, proposals = compact_prompts(model, settings, tile)
    sam = CompactAsSam(model, proposals, settings)
    grid = proposals.points.double().numpy() / tile.shape[::-1]
    return stock(sam, tile, settings, grid, "compact")


def vit_b_ours(points_per_side: int) -> dict[str, Any]:
    sam, weights, settings = vit_b()
    tile = rendered_tile()
    segmenter = SamSegmenter(sam, "vit_b", points_per_side, settings)
    reset_peak()
    before = resident_mib()
    clock = Clock()
    embedding = segmenter.encode(tile[None])
    clock.encoded()
    candidates = segmenter.decode(embedding, tile.shape)
    masks = overlapping(candidates, tile.shape)
    return measurements(masks, clock, before, weights, points_per_side**2, settings)


def vit_b_stock(points_per_side: int) -> dict[str, Any]:
    from segment_anything.utils.amg import build_point_grid

    sam, weights, settings = vit_b()
    return stock(sam, rendered_tile(), settings, build_point_grid(points_per_side), weights)


def stock(
    sam: Any,
    tile: NDArray[np.uint8],
    settings: GeneratorSettings,
    grid: NDArray[np.float64],
    weights: str,
) -> dict[str, Any]:
    """Meta's generator at its own settings, with our thresholds and prompts."""
    from segment_anything import SamAutomaticMaskGenerator
    from stock_sam import as_colour, provide_nms

    provide_nms()
    generator = SamAutomaticMaskGenerator(
        sam,
        points_per_side=None,
        point_grids=[grid],
        pred_iou_thresh=settings.min_predicted_iou,
        stability_score_thresh=settings.min_stability,
        stability_score_offset=settings.stability_offset,
        box_nms_thresh=settings.max_duplicate_iou,
        output_mode="coco_rle",
    )
    encode = generator.predictor.set_image

    def timed_encode(image: NDArray[np.uint8]) -> None:
        encode(image)
        clock.encoded()

    generator.predictor.set_image = timed_encode
    reset_peak()
    before = resident_mib()
    clock = Clock()
    records = generator.generate(as_colour(tile))
    masks = [record["segmentation"] for record in records]
    clock.leave_out(getattr(sam, "seconds", 0.0), getattr(sam, "cpu_seconds", 0.0))
    return measurements(masks, clock, before, weights, len(grid), settings)


def compact_parts(_: int) -> dict[str, Any]:
    from compact_parts import parts, processor

    return {"processor": processor(), "compact_parts": parts(compact(), GeneratorSettings())}


def compact_segment(_: int) -> dict[str, Any]:
    return segment_seconds(rendered_tile())


def compact_512(_: int) -> dict[str, Any]:
    return segment_seconds(render_tile(0, COMPACT_TILE).image)


def compact_large(_: int) -> dict[str, Any]:
    part = render_tile(5, TileSettings(height=900, width=1200)).image
    return segment_seconds(np.tile(part, (10, 10)), runs=1)


def segment_seconds(tile: NDArray[np.uint8], runs: int = 3) -> dict[str, Any]:
    """The compact segmenter as users call it: proposals to RLE, the best of some runs."""
    segmenter = load_segmenter("compact", device="cpu")
    segmenter.segment([tile[:256, :256]])
    reset_peak()
    before = resident_mib()
    measured = []
    for _ in range(runs):
        clock = Clock()
        (masks,) = segmenter.segment([tile])
        encode_rle(masks, *tile.shape)
        measured.append(clock.seconds())
    return {
        "shape": tile.shape,
        "seconds": min(run["end_to_end_seconds"] for run in measured),
        "cpu_seconds": min(run["end_to_end_cpu_seconds"] for run in measured),
        "crystals": len(masks),
        "peak_mib": round(peak_mib()),
        "peak_above_model_mib": round(peak_mib() - before),
    }


class Clock:
    """Measures wall-clock and processor seconds of decoding and of the whole run."""

    def __init__(self) -> None:
        self.started = self.decoding = self.now()

    @staticmethod
    def now() -> NDArray[np.float64]:
        """Wall-clock and processor seconds, now."""
        return np.array([perf_counter(), process_time()])

    def encoded(self) -> None:
        """Note that the image encoder has finished."""
        self.decoding = self.now()

    def leave_out(self, seconds: float, cpu_seconds: float) -> None:
        """Exclude time that only the benchmark needs."""
        spent = np.array([seconds, cpu_seconds])
        self.started, self.decoding = self.started + spent, self.decoding + spent

    def seconds(self) -> dict[str, float]:
        """Seconds of decoding and end to end, until now."""
        ended = self.now()
        decode, whole = ended - self.decoding, ended - self.started
        return {
            "decode_seconds": round(float(decode[0]), 3),
            "decode_cpu_seconds": round(float(decode[1]), 3),
            "end_to_end_seconds": round(float(whole[0]), 3),
            "end_to_end_cpu_seconds": round(float(whole[1]), 3),
        }


def measurements(
    masks: list[RLE],
    clock: Clock,
    before: float,
    weights: str,
    prompts: int,
    settings: GeneratorSettings,
) -> dict[str, Any]:
    """The measurements of one side."""
    peak = peak_mib()
    return {
        "weights": weights,
        "prompts": prompts,
        "thresholds": {
            "predicted_iou": settings.min_predicted_iou,
            "stability": settings.min_stability,
            "stability_offset": settings.stability_offset,
            "duplicate_iou": settings.max_duplicate_iou,
        },
        **clock.seconds(),
        "n_masks": len(masks),
        "peak_mib": round(peak),
        "peak_above_model_mib": round(peak - before),
        "masks": masks,
    }


def overlapping(candidates: Candidates, shape: tuple[int, ...]) -> list[RLE]:
    """Masks of the candidates, before overlaps are suppressed."""
    masks = []
    for part in torch.arange(len(candidates.scores)).split(16):
        for x, y, pixels in full_size(candidates.logits[part], candidates.windows[part], *shape):
            if pixels.any():
                masks.append(tight(x, y, pixels, 1.0, 1.0))
    return encode_rle(masks, *shape)


def compact() -> CompactSam:
    segmenter = load_segmenter("compact", device="cpu")
    assert isinstance(segmenter, CompactSegmenter)
    return segmenter.model


def compact_prompts(model: CompactSam, settings: GeneratorSettings, tile: NDArray[np.uint8]) -> Any:
    """Features of a tile and the crystals proposed in it."""
    from stock_sam import standardised

    with torch.inference_mode(), autocast(torch.device("cpu")):
        features = model.image_encoder(standardised(torch.from_numpy(tile)[None, None].float()))
        sizes = [(tile.shape[0], tile.shape[1])]
        return features, propose(
            features.proposal, sizes, settings.centre_threshold, settings.max_prompts
        )


def vit_b() -> tuple[Any, str, GeneratorSettings]:
    """Meta's ViT-B, or a random one; a description of its weights; and suitable thresholds."""
    from stock_sam import RANDOM_WEIGHTS, random_vit_b

    try:
        return load_model(fetch_checkpoint("vit_b")), "sam_vit_b_01ec64", VIT_CPU_SETTINGS
    except CheckpointError as error:
        say(str(error))
        return random_vit_b(), f"random: {RANDOM_WEIGHTS}", RANDOM_SETTINGS


def rendered_tile() -> NDArray[np.uint8]:
    return render_tile(0, TileSettings(height=1024, width=1024)).image


def reset_peak() -> None:
    """Reset the peak memory, if the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        say("peak memory includes loading")


def resident_mib() -> float:
    return _memory("VmRSS")


def peak_mib() -> float:
    return _memory("VmHWM")


def _memory(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    (value,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(value) / 1024


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


MEASURES = {
    measure.__name__: measure
    for measure in (
        compact_parts,
        compact_ours,
        compact_stock,
        vit_b_ours,
        vit_b_stock,
        compact_segment,
        compact_512,
        compact_large,
    )
}

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
