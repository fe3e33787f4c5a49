"""Depth-log statistics against rendered truth: coverage of intervals, and bias of sizes.

Tiles of one rock are rendered and measured from their true masks. Samples of a few tiles are then
drawn from them with replacement, 200 or more, as if each were an interval of a well. An interval
covers if it holds the value that all tiles together have. The bias of the median size is that of
the visible and of the corrected sizes from those of whole crystals, weighted for the edges.

    python -m benchmarks.depth_log_statistics [--tiles 150] [--samples 400] [--floor]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcn.catalog.depth_log.bias import edge_weights
from mcn.catalog.depth_log.columns import statistics
from mcn.catalog.depth_log.statistics import LogSample, log_statistics
from mcn.catalog.depth_log.uncertainty import WeightedQuantiles
from mcn.mask import masks_from_labels
from mcn.morphology import measure
from mcn.synthetic.renderer import TileSettings, render_tile
from mcn.taxonomy import SHAPES

HEIGHT, WIDTH = 240, 320
MIX = np.array([0.55, 0.25, 0.15, 0.05])


def rendered_tile(seed: int) -> dict[str, NDArray[Any]]:
    """Columns of a tile's crystals; tiles of the rock differ in mix, size and spread."""
    rng = np.random.default_rng([7, seed])
    mix = rng.dirichlet(19 * MIX)
    settings = TileSettings(
        height=HEIGHT,
        width=WIDTH,
        diameter_um=float(1.4 * np.exp(rng.normal(0, 0.1))),
        size_spread=float(rng.uniform(0.22, 0.32)),
        shape_mix=(float(mix[0]), float(mix[1]), float(mix[2]), float(mix[3])),
        porosity=float(rng.uniform(0.05, 0.2)),
        severity=0.0,
    )
    tile = render_tile(seed, settings)
    masks = masks_from_labels(tile.labels.astype(np.int32))
    columns = measure(masks, HEIGHT, WIDTH, tile.pixel_size_um)
    shape = np.array([SHAPES.index(name) for name in tile.shapes])
    chosen = ("bbox_w", "bbox_h", "touches_edge", "equivalent_diameter_um", "aspect_ratio")
    chosen += ("circularity", "contact_fraction", "roundness", "completeness")
    return {
        **{name: columns[name] for name in chosen},
        "shape": shape,
        "is_euhedral": (shape < 2).astype(np.float64),
        "confidence": np.full(len(shape), 0.8),
        "visible": tile.visible_fraction.astype(np.float64),
        "area_fraction": np.array([(tile.labels > 0).mean()]),
        "pores": np.array([tile.porosity]),
    }


def sample_of(tiles: list[dict[str, NDArray[Any]]]) -> LogSample:
    """The tiles as an interval of a well."""
    names = [name for name in tiles[0] if name not in ("area_fraction", "pores")]
    count = len(tiles)
    return LogSample(
        {
            "depth_m": np.arange(count, dtype=np.float64),
            "width": np.full(count, float(WIDTH)),
            "height": np.full(count, float(HEIGHT)),
            "pixel_size_um": np.full(count, 0.05),
            "crystal_area_fraction": np.concatenate([tile["area_fraction"] for tile in tiles]),
            "visible_pore_fraction": np.concatenate([tile["pores"] for tile in tiles]),
        },
        {name: np.concatenate([tile[name] for tile in tiles]) for name in names},
        np.repeat(np.arange(count), [len(tile["shape"]) for tile in tiles]),
        SHAPES,
        np.array([0, count]),
    )


def interval_statistics(sample: LogSample, seed: int = 0) -> dict[str, float]:
    """The statistics of the only interval."""
    return {name: values[0] for name, values in log_statistics(sample, seed).items()}


def bias_of_medians(sample: LogSample) -> dict[str, float]:
    """Bias of the median size, of visible and of corrected sizes."""
    crystals = sample.crystals
    size = (np.full(len(sample.tile), WIDTH), np.full(len(sample.tile), HEIGHT))
    weights = edge_weights(crystals["bbox_w"], crystals["bbox_h"], *size, crystals["touches_edge"])
    whole = crystals["equivalent_diameter_um"] / np.sqrt(crystals["visible"])
    everyone, inside = (
        WeightedQuantiles(whole, sample.tile, sample.n_tiles, chosen).at([0.5]).item()
        for chosen in (np.ones(len(whole)), weights)
    )
    estimate = interval_statistics(sample)
    visible = estimate["median_equivalent_diameter_um"]
    corrected = estimate["corrected_median_equivalent_diameter_um"]
    return {
        "visible_to_whole": visible / everyone - 1,
        "corrected_to_whole": corrected / everyone - 1,
        "corrected_to_whole_inside": corrected / inside - 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tiles", type=int, default=150, help="tiles that are rendered")
    parser.add_argument("--samples", type=int, default=400, help="samples of each size")
    parser.add_argument("--floor", action="store_true", help="exit 1 outside the limits")
    options = parser.parse_args()
    tiles = [rendered_tile(seed) for seed in range(options.tiles)]
    truth = interval_statistics(sample_of(tiles))
    names = statistics(SHAPES)
    rng = np.random.default_rng(0)
    coverage, by_name, seconds = {}, {}, []
    for size in (8, 12, 24):
        hits = []
        for seed in range(options.samples):
            chosen = [tiles[k] for k in rng.integers(len(tiles), size=size)]
            sample = sample_of(chosen)
            started = time.perf_counter()
            found = interval_statistics(sample, seed)
            seconds.append(time.perf_counter() - started)
            hits.append([found[f"low_{n}"] <= truth[n] <= found[f"high_{n}"] for n in names])
        coverage[size] = round(float(np.mean(hits)), 4)
        by_name[size] = dict(zip(names, np.mean(hits, axis=0).round(3).tolist(), strict=True))
    bias = {name: round(value, 4) for name, value in bias_of_medians(sample_of(tiles)).items()}
    result = {
        "tiles": options.tiles,
        "crystals": int(truth["n_crystals"]),
        "samples": options.samples,
        "coverage": coverage,
        "coverage_by_statistic": by_name,
        "bias_of_median": bias,
        "ms_per_interval": round(1e3 * float(np.median(seconds)), 2),
    }
    print(json.dumps(result))
    is_covered = all(0.93 <= share <= 0.97 for share in coverage.values())
    if options.floor and not (is_covered and abs(bias["corrected_to_whole"]) <= 0.05):
        sys.exit(1)


if __name__ == "__main__":
    main()
