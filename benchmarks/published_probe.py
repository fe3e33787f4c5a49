"""Predictions of the authors' released network for rendered crystals and real particles.

It is the only available network that was trained on real calcite. The benchmark tests which of
its outputs is which shape, and how well it recognises the shapes of rendered crystals. Crystals
of random tiles are cut out with their true masks and prepared in several ways; so are real
particles (EMPS, Yildirim & Cole 2021) with an unambiguous outline: four corners, five or six,
round, ragged. Prints one JSON object.

    python benchmarks/published_probe.py [--tiles N] [--seed S] [--severity S] [--keras FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mcn.classify import load_classifier
from mcn.classify.modeling.published import (
    CLASS_ORDER,
    KERAS_FILE,
    RELEASED_ORDER,
    PublishedNetwork,
    fetch_keras,
    import_weights,
)
from mcn.crops import cut_crops
from mcn.crystals import CROP_SIZE
from mcn.mask import Mask, masks_from_labels
from mcn.morphology import measure
from mcn.synthetic.renderer import random_settings, render_tile
from mcn.taxonomy import SHAPES

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
HEIGHT, WIDTH, PER_TILE, BOOTSTRAPS = 576, 768, 40, 1000
WHOLE, LARGE_PX = 0.9, 900
"""Minimum visible share and number of pixels of crystals that are reported separately."""

OUTLINE_MEASURES = ("corners", "circularity", "solidity", "aspect_ratio")

Crops = NDArray[np.uint8]
Cut = Callable[[Crops, Sequence[Mask]], Crops]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=80, help="rendered tiles")
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument(
        "--severity", type=float, help="of the microscope's faults; by default random"
    )
    parser.add_argument("--keras", type=Path, default=SHARED / "published-mcn" / KERAS_FILE)
    parser.add_argument("--emps", type=Path, default=SHARED / "emps-train")
    options = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        keras = options.keras if options.keras.is_file() else fetch_keras()
        path = import_weights(keras, Path(folder) / "published.safetensors")
        classifier = load_classifier(str(path))
    network = classifier.network
    assert isinstance(network, PublishedNetwork)

    cuts, shapes, tile, visible, area = rendered(options.tiles, options.seed, options.severity)
    whole = (visible >= WHOLE) & (area >= LARGE_PX)
    output_by_input = {name: outputs(network, inputs) for name, inputs in cuts.items()}
    output = output_by_input["black, /255"]
    print(
        json.dumps(
            {
                "classifier": classifier.name,
                "tiles": options.tiles,
                "seed": options.seed,
                "severity": "random" if options.severity is None else options.severity,
                "chance": 1 / len(SHAPES),
                "orders": {"sorted": CLASS_ORDER, "released_figures": RELEASED_ORDER},
                "rendered": {
                    "all": summarise_outputs(shapes, output, tile),
                    "whole_and_large": summarise_outputs(shapes[whole], output[whole], tile[whole]),
                },
                "amorphous_and_polyhedral_by_fill": by_fill(shapes, output, cuts["black, /255"]),
                "inputs_whole_and_large": {
                    name: agreements(confusion(shapes[whole], output[whole]))
                    for name, output in output_by_input.items()
                },
                "real_particles": dict(real(network, options.emps)),
            }
        )
    )


def rendered(
    tiles: int, seed: int, severity: float | None
) -> tuple[dict[str, NDArray[Any]], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Inputs of each kind (N, 64, 64), and shape, tile, visible share and pixels of each (N,)."""
    crops: dict[str, list[Crops]] = {name: [] for name in CUTS}
    truth_rows: list[tuple[int, int, float, int]] = []
    for number, tile_seed in enumerate(np.random.SeedSequence(seed).generate_state(tiles)):
        rng = np.random.default_rng(tile_seed)
        settings = random_settings(rng, HEIGHT, WIDTH)
        if severity is not None:
            settings = replace(settings, severity=severity)
        tile = render_tile(int(tile_seed), settings)
        masks = masks_from_labels(tile.labels)
        rows = rng.permutation(len(masks))[:PER_TILE]
        chosen = [masks[row] for row in rows]
        for name, cut in CUTS.items():
            crops[name].append(cut(tile.image, chosen))
        truth_rows += [
            (
                SHAPES.index(tile.shapes[row]),
                number,
                float(tile.visible_fraction[row]),
                int(masks[row].pixels.sum()),
            )
            for row in rows
        ]
    inputs: dict[str, NDArray[Any]] = {
        f"{name}, /255": np.concatenate(parts) for name, parts in crops.items()
    }
    black = inputs["black, /255"].astype(np.float32)
    inputs["black, not scaled"] = black * 255  # the network divides by 255
    inputs["black, standardised"] = standardised(black) * 255
    shapes, tile_numbers, visible, area = (
        np.array(column) for column in zip(*truth_rows, strict=True)
    )
    return inputs, shapes, tile_numbers, visible, area


def nearest(image: Crops, masks: Sequence[Mask]) -> Crops:
    """As `cut_crops`, but scaled as the authors' loader does by default."""
    crops = np.zeros((len(masks), CROP_SIZE, CROP_SIZE), dtype=np.uint8)
    for crop, mask in zip(crops, masks, strict=True):
        h, w = mask.pixels.shape
        crystal = Image.fromarray(image[mask.y : mask.y + h, mask.x : mask.x + w] * mask.pixels)
        crop[:] = np.asarray(crystal.resize((CROP_SIZE, CROP_SIZE), Image.Resampling.NEAREST))
    return crops


def aspect_kept(image: Crops, masks: Sequence[Mask]) -> Crops:
    """As `cut_crops`, but not stretched: crystals in the middle of a square."""
    edge = max(image.shape)
    padded = np.pad(image, edge)
    squares = []
    for mask in masks:
        h, w = mask.pixels.shape
        top, left = (max(h, w) - h) // 2, (max(h, w) - w) // 2
        pixels = np.pad(mask.pixels, ((top, max(h, w) - h - top), (left, max(h, w) - w - left)))
        squares.append(Mask(mask.x + edge - left, mask.y + edge - top, pixels))
    return cut_crops(padded, squares)


def boxes(image: Crops, masks: Sequence[Mask]) -> Crops:
    """The crystals' boxes with everything in them."""
    return cut_crops(image, [Mask(m.x, m.y, np.ones_like(m.pixels)) for m in masks])


CUTS: dict[str, Cut] = {
    "black": cut_crops,
    "black, nearest": nearest,
    "black, aspect kept": aspect_kept,
    "background kept": boxes,
    "white": lambda image, masks: 255 - cut_crops(255 - image, masks),
    "black, inverted": lambda image, masks: cut_crops(255 - image, masks),
}


def standardised(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero mean and unit deviation over each crystal, 0 outside."""
    inside = crops > 0
    count = inside.sum(axis=(1, 2), keepdims=True)
    centred = (crops - crops.sum(axis=(1, 2), keepdims=True) / count) * inside
    deviation = np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True) / count)
    return np.asarray(centred / np.maximum(deviation, 1), dtype=np.float32)


@torch.inference_mode()
def outputs(network: PublishedNetwork, crops: NDArray[Any]) -> NDArray[np.int64]:
    """The network's prediction for each crop, as the number in the authors' files."""
    parts = torch.from_numpy(crops.astype(np.float32))[:, None].split(256)
    device = next(network.parameters()).device
    predicted = torch.cat([network(part.to(device)).argmax(dim=1).cpu() for part in parts])
    numbers = np.array([CLASS_ORDER.index(shape) for shape in SHAPES])
    return np.asarray(numbers[predicted.numpy()])


def confusion(shapes: NDArray[np.int64], output: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts by rendered shape (rows, in the order of `SHAPES`) and output 0 to 3 (columns)."""
    flat = np.bincount(shapes * len(SHAPES) + output, minlength=len(SHAPES) ** 2)
    return flat.reshape(len(SHAPES), len(SHAPES))


def agreement(counts: NDArray[np.int64], order: Sequence[str]) -> float:
    """Mean over the shapes of the share that is predicted rightly, with outputs in `order`."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return float(np.mean([shares[row, order.index(shape)] for row, shape in enumerate(SHAPES)]))


def agreements(counts: NDArray[np.int64]) -> dict[str, Any]:
    best = max(permutations(SHAPES), key=lambda order: agreement(counts, order))
    return {
        "sorted": round(agreement(counts, CLASS_ORDER), 3),
        "released_figures": round(agreement(counts, RELEASED_ORDER), 3),
        "best_of_all": {"order": best, "agreement": round(agreement(counts, best), 3)},
    }


def summarise_outputs(
    shapes: NDArray[np.int64], output: NDArray[np.int64], tile: NDArray[np.int64]
) -> dict[str, Any]:
    """Confusion and agreement, with 95 % intervals over the tiles."""
    counts = confusion(shapes, output)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    by_tile = np.stack([confusion(shapes[tile == t], output[tile == t]) for t in np.unique(tile)])
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(by_tile), (BOOTSTRAPS, len(by_tile)))
    resampled = [by_tile[rows].sum(axis=0) for rows in drawn]
    in_sorted_order = np.array([agreement(sample, CLASS_ORDER) for sample in resampled])
    gain = in_sorted_order - [agreement(sample, RELEASED_ORDER) for sample in resampled]
    return {
        "n": len(shapes),
        "confusion_rows_shapes_columns_outputs": dict(zip(SHAPES, counts.tolist(), strict=True)),
        **agreements(counts),
        "agreement_by_shape": {
            shape: round(float(shares[row, CLASS_ORDER.index(shape)]), 3)
            for row, shape in enumerate(SHAPES)
        },
        "sorted_95": interval(in_sorted_order),
        "sorted_minus_released_figures_95": interval(gain),
    }


def by_fill(
    shapes: NDArray[np.int64], output: NDArray[np.int64], crops: Crops
) -> list[dict[str, Any]]:
    """Shares of the outputs 0 and 1, which are uncertain, among crops with similar fill.

    The network predicts output 1 for an empty crop, so also for crystals that are hardly visible.
    """
    fill = (crops > 0).mean(axis=(1, 2))
    rows = []
    for low, high in pairwise((0, 0.45, 0.6, 0.7, 0.8, 1)):
        row: dict[str, Any] = {"fill": [low, high]}
        for shape in ("amorphous", "polyhedral"):
            chosen = (shapes == SHAPES.index(shape)) & (fill >= low) & (fill < high)
            shares = np.bincount(output[chosen], minlength=len(SHAPES)) / max(chosen.sum(), 1)
            row[shape] = {"n": int(chosen.sum()), "output_0_and_1": shares[:2].round(3).tolist()}
        rows.append(row)
    return rows


def interval(values: NDArray[np.float64]) -> list[float]:
    return [round(float(end), 3) for end in np.quantile(values, [0.025, 0.975])]


def real(network: PublishedNetwork, data: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Outputs for real particles with an unambiguous outline; nothing if the data are missing."""
    crops: list[Crops] = []
    outlines: list[NDArray[np.float64]] = []
    for path in sorted((data / "masks").glob("*.png")):
        labels = np.asarray(Image.open(path))
        image = np.asarray(Image.open(data / "images" / path.name).convert("L"))
        masks = [mask for mask in masks_from_labels(labels) if mask.pixels.sum() >= LARGE_PX]
        measures = measure(masks, labels.shape[0], labels.shape[1], None)
        inside = np.flatnonzero(~measures["touches_edge"])
        crops.append(cut_crops(image, [masks[row] for row in inside]))
        columns = [measures[name][inside] for name in OUTLINE_MEASURES]
        outlines.append(np.array(columns, dtype=float))
    if not outlines:
        return
    corners, circularity, solidity, aspect = np.concatenate(outlines, axis=1)
    output = outputs(network, np.concatenate(crops))
    for name, rows in {
        "four_corners": (corners == 4) & (solidity > 0.95) & (aspect < 1.7),
        "five_or_six_corners": (corners >= 5) & (corners <= 6) & (solidity > 0.95) & (aspect < 1.5),
        "round": (circularity > 0.92) & (solidity > 0.96) & (aspect < 1.15),
        "ragged": solidity < 0.88,
    }.items():
        counts = np.bincount(output[rows], minlength=len(SHAPES))
        yield name, {"n": int(rows.sum()), "by_output": counts.tolist()}


if __name__ == "__main__":
    main()
