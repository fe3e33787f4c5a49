"""Bytes and seconds from masks to committed rows of a catalogue.

Calls the stages of a scan one after another in one process, with models that return fixed
results. What remains is the cost to measure crystals, to pass them between the stages, to make
rows of them and to commit the rows. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mcn.catalog.store import Catalog
from mcn.crystals import Classified
from mcn.mask import Mask, masks_from_labels
from mcn.micrograph import Micrograph
from mcn.synthetic.renderer import random_settings, render_tile
from mcn.taxonomy import CALCITE
from pipelines.batch import WrittenBatch
from pipelines.stages import rows
from pipelines.stages.classify import ClassifyTiles
from pipelines.stages.labels import ScanLabels
from pipelines.stages.segment import SegmentTiles
from pipelines.stages.write import WriteTiles


class KnownMasks:
    """A segmenter that returns given masks in turn."""

    name = "known@000000000000"

    def __init__(self, masks: Sequence[list[Mask]]) -> None:
        self._masks = list(masks)

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Mask]]:
        """Masks of the next images."""
        next_masks, self._masks = self._masks[: len(images)], self._masks[len(images) :]
        return next_masks


class Even:
    """A classifier that takes no time."""

    name = "even@000000000000"
    taxonomy = CALCITE

    def classify(self, crops: NDArray[np.uint8]) -> Classified:
        """The same probabilities for all."""
        p = np.tile(np.array([0.4, 0.3, 0.2, 0.1], np.float32), (len(crops), 1))
        return Classified(p, p[:, 0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crystals", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    pictures, masks = render(options.crystals)
    runs = [once(pictures, masks) for _ in range(options.runs)]
    best = min(runs, key=lambda run: sum(run["seconds"].values()))
    print(
        json.dumps(
            {
                "processor": platform.processor() or platform.machine(),
                "crystals": sum(map(len, masks)),
                "tiles": len(pictures),
                "cpu_seconds": {k: round(v, 3) for k, v in best["seconds"].items()},
                "cpu_seconds_total": round(sum(best["seconds"].values()), 3),
                "bytes": best["bytes"],
                "bytes_a_crystal": round(sum(best["bytes"].values()) / sum(map(len, masks))),
            }
        )
    )


def render(crystals: int) -> tuple[list[Micrograph], list[list[Mask]]]:
    """Tiles of 1024×768 with this many crystals in total, and their true masks."""
    pictures: list[Micrograph] = []
    masks: list[list[Mask]] = []
    while sum(map(len, masks)) < crystals:
        seed = len(pictures)
        tile = render_tile(seed, random_settings(np.random.default_rng(seed), 768, 1024))
        picture = Micrograph(tile.image, 0.05, "manifest", f"tile-{seed}")
        pictures.append(picture)
        masks.append(masks_from_labels(tile.labels))
    masks[-1] = masks[-1][: crystals - sum(map(len, masks[:-1]))]
    return pictures, masks


def once(pictures: list[Micrograph], masks: list[list[Mask]]) -> dict[str, Any]:
    """Processor seconds of each stage, and bytes that leave it."""
    n = len(pictures)
    names = [picture.name for picture in pictures]
    origin = {
        "tile_id": names,
        "uri": names,
        "etag": names,
        "well": ["A"] * n,
        "depth_m": [1000.0 + i for i in range(n)],
    }
    read = pa.table(
        {
            **{k: pa.array(v, rows.READ.field(k).type) for k, v in origin.items()},
            **rows.pack_micrographs(pictures),
            "seconds": pa.repeat(0.0, n),
            "error": pa.nulls(n, pa.string()),
        }
    ).select(rows.READ.names)
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog.create(Path(folder) / "catalog")
        labels = ScanLabels(KnownMasks.name, Even.name, "scan")
        segment = SegmentTiles(lambda: KnownMasks(masks), 1, labels)
        classify = ClassifyTiles(Even, 1, labels)
        write = WriteTiles(catalog, "scan")
        seconds: dict[str, float] = {}
        segmented = _timed(seconds, "segment", lambda: segment(read))
        classified = _timed(seconds, "classify", lambda: classify(segmented))
        written = _timed(seconds, "write", lambda: write(classified))
        parts = [part for batch in WrittenBatch.all_in(written) for part in batch.parts]
        _timed(seconds, "commit", lambda: catalog.commit_parts(parts))
    crops = sum(len(value.as_py() or b"") for value in segmented["crops"])
    return {
        "seconds": seconds,
        "bytes": {"segmented": segmented.nbytes - crops, "classified": classified.nbytes},
    }


def _timed(seconds: dict[str, float], name: str, work: Callable[[], pa.Table]) -> pa.Table:
    started = process_time()
    result = work()
    seconds[name] = process_time() - started
    return result


if __name__ == "__main__":
    main()
