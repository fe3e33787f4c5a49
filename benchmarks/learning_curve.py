"""What corrections teach: a learning curve of the shipped classifier on a rock that it never saw.

Renders a rock that is rougher than any the shipped classifier was trained on, with a mix of shapes
of its own, and analyses it with the shipped models into a catalogue. Then a person is played: the
crystals that the segmenter found are named by the rendered truth, through the corrections of the
catalogue, exported with `mcn export --corrections`' function, and the shipped classifier is
fine-tuned on 50, 100, 200 and 400 of them, as `mcn train classifier DATA --start nsr` does. Each
seed has tiles of its own. All are evaluated on further tiles, which took no part; intervals of 95 %
come from resampling those tiles. Prints one JSON object.

    python benchmarks/learning_curve.py [--seeds 3] [--order queue|random] [--floor]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mcn.analyzer import Analyzer
from mcn.catalog.correcting.changes import Change, correct
from mcn.catalog.correcting.label_sheet import export_labels
from mcn.catalog.query import query
from mcn.catalog.schema import Tile, crystal_table, tile_id, tile_table
from mcn.catalog.store import Catalog
from mcn.classify import load_classifier
from mcn.classify.classifier import CropClassifier
from mcn.classify.data.dataset import Examples
from mcn.classify.data.readers import read_examples
from mcn.classify.evaluation.bootstrap import resamples
from mcn.classify.evaluation.scores import score
from mcn.classify.training.train import train_classifier
from mcn.classify.training.trainer import FINE_TUNING
from mcn.crystals import crystal_masks
from mcn.mask import masks_from_labels
from mcn.micrograph import read_micrograph
from mcn.segment import load_segmenter
from mcn.segment.evaluation.metrics import matches
from mcn.synthetic.core import write_tile
from mcn.synthetic.renderer import RenderedTile, TileSettings, render_tile

ROCK: Final = TileSettings(
    height=576,
    width=768,
    pixel_size_um=0.05,
    diameter_um=2.3,
    size_spread=0.28,
    shape_mix=(0.15, 0.45, 0.3, 0.1),
    porosity=0.1,
    matrix=0.4,
    roughness=2.0,
    severity=0.9,
)
"""The shipped classifier was trained on a roughness of 1.5 at most, and on every mix."""

COUNTS: Final = (50, 100, 200, 400)
HELD_OUT: Final = "held-out"
FLOOR: Final = 200
"""From this number of corrected crystals, the fine-tuned classifier must be better."""

Truth = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each size")
    parser.add_argument("--tiles", type=int, default=5, help="tiles to correct, of each seed")
    parser.add_argument("--held-out", type=int, default=8, help="tiles to evaluate on")
    parser.add_argument("--order", choices=("queue", "random"), default="random")
    parser.add_argument("--folder", type=Path, help="keep the rock here, and use it again")
    parser.add_argument("--rate", type=float, default=FINE_TUNING.learning_rate)
    parser.add_argument("--epochs", type=int, default=FINE_TUNING.epochs)
    parser.add_argument(
        "--floor", action="store_true", help=f"exit 1 unless {FLOOR} crystals make it better"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rock = options.folder or Path(folder, "rock")
        report = measure(rock, Path(folder), options)
    print(json.dumps(report))
    (at_floor,) = (point for point in report["curve"] if point["crystals"] == FLOOR)
    if options.floor and at_floor["gain_interval"][0] <= 0:
        print(f"{FLOOR} crystals: not measurably better", file=sys.stderr)
        sys.exit(1)


def measure(rock: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Render, analyse, correct, fine-tune and evaluate."""
    started = perf_counter()
    shipped = load_classifier("nsr")
    wells = {f"seed-{seed}": options.tiles for seed in range(options.seeds)}
    if not (rock / "truth.json").exists():
        make_catalog(rock, {**wells, HELD_OUT: options.held_out}, shipped)
    truth = json.loads((rock / "truth.json").read_text())
    catalog = Catalog.open(shutil.copytree(rock / "catalog", folder / "catalog"))
    judged = judged_examples(catalog, folder / HELD_OUT, truth)
    before = Judged(shipped, judged)
    after: dict[int, list[Judged]] = {count: [] for count in COUNTS}
    for seed, well in enumerate(wells):
        order = crystals_in_order(catalog, well, options.order, seed, truth)
        for done, count in zip((0, *COUNTS), COUNTS, strict=False):
            name_crystals(catalog, well, order[done:count], truth)
            data = folder / f"{well}-{count}"
            export_labels(catalog, data, [well], limit=sys.maxsize, corrected_only=True)
            settings = replace(
                FINE_TUNING, seed=seed, learning_rate=options.rate, epochs=options.epochs
            )
            trained = train_classifier(data, folder / f"{well}-{count}.safetensors", settings)
            after[count].append(Judged(load_classifier(str(trained.path)), judged))
            accuracy = after[count][-1].score["accuracy"]
            print(f"{well}, {count} crystals: accuracy {accuracy:.3f}", file=sys.stderr)
    return {
        "classifier": shipped.name,
        "rock": {"roughness": ROCK.roughness, "shape_mix": ROCK.shape_mix},
        "order": options.order,
        "seeds": options.seeds,
        "rate": options.rate,
        "epochs": options.epochs,
        "held_out": {
            "tiles": options.held_out,
            "crystals": len(judged),
            "by_shape": before.score["n_by_shape"],
        },
        "shipped": point([before], before),
        "curve": [{"crystals": count, **point(after[count], before)} for count in COUNTS],
        "seconds": round(perf_counter() - started, 1),
    }


class Judged:
    """A classifier's results on the held-out crystals."""

    def __init__(self, classifier: CropClassifier, examples: Examples) -> None:
        classified = classifier.classify(examples.crops)
        self.tiles = examples.groups
        self.temperature = classifier.temperature
        self.right = classified.probabilities.argmax(axis=1) == examples.classes
        # Weighted in this way, the mean over crystals is the mean recall of the shapes.
        counts = np.bincount(examples.classes)
        self.balance = len(examples) / (np.count_nonzero(counts) * counts[examples.classes])
        self.score = score(
            examples.classes,
            classified.probabilities,
            examples.taxonomy.shapes,
            examples.taxonomy.facet_of,
            classified.confidence,
        )


def point(judged: Sequence[Judged], before: Judged) -> dict[str, Any]:
    """Means over the seeds, with intervals over the held-out tiles."""
    right = np.mean([each.right for each in judged], axis=0)
    gain, balanced = right - before.right, right * before.balance
    metrics = ("accuracy", "balanced_accuracy", "macro_average_precision", "ece", "confidence_ece")
    return {
        **{
            name: round(float(np.mean([each.score[name] for each in judged])), 4)
            for name in metrics
        },
        "accuracy_interval": interval(right, before.tiles),
        "balanced_accuracy_interval": interval(balanced, before.tiles),
        "gain": round(float(gain.mean()), 4),
        "gain_interval": interval(gain, before.tiles),
        "balanced_gain_interval": interval(gain * before.balance, before.tiles),
        "accuracy_by_seed": [round(each.score["accuracy"], 4) for each in judged],
        "temperature_by_seed": [round(each.temperature, 3) for each in judged],
    }


def interval(values: NDArray[np.float64], tiles: NDArray[np.int64]) -> list[float]:
    """95 % interval of the mean of values by crystal, from resampling tiles."""
    unit_of = np.unique(tiles, return_inverse=True)[1]
    means = [(weights @ values) / weights.sum(axis=1) for weights in resamples(unit_of, 0)]
    return [round(float(end), 4) for end in np.quantile(np.concatenate(means), [0.025, 0.975])]


def make_catalog(folder: Path, wells: dict[str, int], classifier: CropClassifier) -> None:
    """Write a catalogue of the rock's tiles, and the true shape of each crystal that is one."""
    analyzer = Analyzer(load_segmenter(), classifier)
    catalog = Catalog.create(folder / "catalog")
    tiles, crystals, shapes = [], [], []
    for number, (well, depth, path, rendered) in enumerate(render(folder / "core", wells)):
        picture = read_micrograph(path)
        (found,) = analyzer.analyze([picture])
        crystals.append(found)
        shapes.append(true_shapes(rendered, found))
        tiles.append(
            Tile(
                tile_id=tile_id(str(path)),
                uri=str(path),
                well=well,
                depth_m=depth,
                width=ROCK.width,
                height=ROCK.height,
                pixel_size_um=ROCK.pixel_size_um,
                pixel_size_source="vendor",
                n_crystals=found.num_rows,
                crystal_area_fraction=0.5,
                segmenter=analyzer.segmenter.name,
                classifier=classifier.name,
                scan_id="learning-curve",
            )
        )
        print(f"tile {number + 1} of {sum(wells.values())}", file=sys.stderr)
    rows = tile_table(tiles)
    table = crystal_table(rows, crystals, catalog.depth_bin_m)
    catalog.commit(table, rows)
    named = zip(table["crystal_id"].to_pylist(), itertools.chain(*shapes), strict=True)
    truth: Truth = {crystal_id: shape for crystal_id, shape in named if shape is not None}
    (folder / "truth.json").write_text(json.dumps(truth))


def render(core: Path, wells: dict[str, int]) -> Iterator[tuple[str, float, Path, RenderedTile]]:
    """Well, depth, file and truth of each tile."""
    rng = np.random.default_rng(20261126)
    for well, tiles in wells.items():
        for number in range(tiles):
            settings = replace(
                ROCK,
                diameter_um=ROCK.diameter_um * float(rng.uniform(0.8, 1.25)),
                severity=ROCK.severity * float(rng.uniform(0.7, 1.3)),
            )
            rendered = render_tile(int(rng.integers(2**62)), settings)
            depth = 1000.0 + 10 * number
            path = core / f"well={well}" / f"depth={depth}" / f"{well}_{number}.tif"
            path.parent.mkdir(parents=True)
            write_tile(path, rendered.image, rendered.pixel_size_um)
            yield well, depth, path, rendered


def true_shapes(rendered: RenderedTile, found: pa.Table) -> list[str | None]:
    """The true shape of each crystal that was found, None for what matches no true one."""
    masks = masks_from_labels(rendered.labels)
    true, predicted, _ = matches(masks, crystal_masks(found), rendered.image.shape)
    shapes: list[str | None] = [None] * found.num_rows
    for true_index, predicted_index in zip(true, predicted, strict=True):
        shapes[predicted_index] = rendered.shapes[true_index]
    return shapes


def crystals_in_order(
    catalog: Catalog, well: str, order: str, seed: int, truth: Truth
) -> list[str]:
    """The crystals of a well that a person could name, in the order of naming."""
    rows = query(catalog, [well], columns=["crystal_id", "confidence"])
    if order == "queue":
        rows = rows.sort_by([("confidence", "ascending"), ("crystal_id", "ascending")])
    ids = [crystal_id for crystal_id in rows["crystal_id"].to_pylist() if crystal_id in truth]
    if order == "random":
        ids = [ids[number] for number in np.random.default_rng(seed).permutation(len(ids))]
    if len(ids) < COUNTS[-1]:
        raise RuntimeError(f"{well}: only {len(ids)} crystals; give more --tiles")
    return ids


def name_crystals(catalog: Catalog, well: str, ids: Sequence[str], truth: Truth) -> None:
    """Name crystals by their true shapes, as a person does who knows the rock."""
    groups: dict[tuple[str, str], list[str]] = {}
    for crystal_id in ids:
        if crystal_id in truth:
            groups.setdefault((crystal_id[:32], truth[crystal_id]), []).append(crystal_id)
    for (tile, shape), chosen in groups.items():
        correct(catalog, Change("shape", tile, well, chosen, shape), "truth")


def judged_examples(catalog: Catalog, out: Path, truth: Truth) -> Examples:
    """The held-out crystals as they were scanned, with their true shapes."""
    sheet = export_labels(catalog, out, [HELD_OUT], limit=sys.maxsize).sheet
    with sheet.open(newline="", encoding="utf-8-sig") as text:
        rows = [*csv.DictReader(text)]
    with sheet.open("w", newline="", encoding="utf-8") as text:
        writer = csv.DictWriter(text, rows[0])
        writer.writeheader()
        writer.writerows({**row, "shape": truth.get(row["crystal_id"], "?")} for row in rows)
    return read_examples(out)


if __name__ == "__main__":
    main()
