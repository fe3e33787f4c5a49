"""Crystals cut out and classified per minute, compared with cutting them one by one.

Uses the crystals of newly rendered tiles of random settings, with their true masks, repeatedly.
The reference cuts each with a call of Pillow's `resize`. Prints one JSON object.

    python benchmarks/classify.py [--crops N] [--tiles N] [--classifier M]
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mcn.classify import load_classifier
from mcn.crops import cut_crops
from mcn.crystals import CROP_SIZE
from mcn.mask import Mask, masks_from_labels
from mcn.synthetic.renderer import random_settings, render_tile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=20_000)
    parser.add_argument("--tiles", type=int, default=20)
    parser.add_argument("--classifier", default="nsr")
    parser.add_argument("--seed", type=int, default=1618)
    options = parser.parse_args()
    tiles = [
        rendered(int(s)) for s in np.random.SeedSequence(options.seed).generate_state(options.tiles)
    ]
    classifier = load_classifier(options.classifier)
    classifier.classify(cut_crops(*tiles[0]))
    seconds = {"cut": 0.0, "named": 0.0, "cut one by one": 0.0}
    crops = differing = 0
    while crops < options.crops:
        for image, masks in tiles:
            started = perf_counter()
            cut = cut_crops(image, masks)
            seconds["cut"] += perf_counter() - started
            started = perf_counter()
            classifier.classify(cut)
            seconds["named"] += perf_counter() - started
            started = perf_counter()
            reference = one_by_one(image, masks)
            seconds["cut one by one"] += perf_counter() - started
            differing = max(differing, int(np.abs(cut.astype(int) - reference).max()))
            crops += len(masks)
    total = seconds["cut"] + seconds["named"]
    print(
        json.dumps(
            {
                "classifier": classifier.name,
                "crops": crops,
                "mean_side_px": round(mean_side(tiles), 1),
                "crops_per_minute": round(60 * crops / total),
                "us_per_crop": {k: round(1e6 * s / crops, 1) for k, s in seconds.items()},
                "cutting_speed_up": round(seconds["cut one by one"] / seconds["cut"], 2),
                "grey_levels_off_at_most": differing,
                "threads": torch.get_num_threads(),
                "cores": os.cpu_count(),
                "load": round(os.getloadavg()[0], 2),
            }
        )
    )


def rendered(seed: int) -> tuple[NDArray[np.uint8], list[Mask]]:
    tile = render_tile(seed, random_settings(np.random.default_rng(seed)))
    return tile.image, masks_from_labels(tile.labels)


def one_by_one(image: NDArray[np.uint8], masks: Sequence[Mask]) -> NDArray[np.uint8]:
    crops = np.zeros((len(masks), CROP_SIZE, CROP_SIZE), dtype=np.uint8)
    for crop, mask in zip(crops, masks, strict=True):
        h, w = mask.pixels.shape
        crystal = Image.fromarray(image[mask.y : mask.y + h, mask.x : mask.x + w] * mask.pixels)
        crop[:] = np.asarray(crystal.resize((CROP_SIZE, CROP_SIZE), Image.Resampling.BILINEAR))
    return crops


def mean_side(tiles: list[tuple[NDArray[np.uint8], list[Mask]]]) -> float:
    return float(np.mean([mask.pixels.shape for _, masks in tiles for mask in masks]))


if __name__ == "__main__":
    main()
