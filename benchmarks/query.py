"""Query time of a catalogue: crystals of one well within 50 m, of a million.

Fills a catalogue with tiles that all have the crystals of one rendered tile, in random order of
depth and in many commits, as a scan does, and queries it before and after it is compacted.
Prints one JSON object.

    python benchmarks/query.py [--crystals N] [--commit TILES]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from mcn.analyzer import Analyzer
from mcn.catalog.query import query
from mcn.catalog.schema import Tile, crystal_table, tile_id, tile_table
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import compact, info
from mcn.classify import load_classifier
from mcn.micrograph import Micrograph
from mcn.segment import load_segmenter
from mcn.synthetic.renderer import render_tile

WELLS = 5
TOP_M, LENGTH_M = 1000.0, 1000.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=int, default=1_000_000)
    parser.add_argument("--commit", type=int, default=512, help="tiles per commit")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog.create(Path(folder) / "catalog")
        tiles = fill(catalog, options.crystals, options.commit)
        report = {"tiles": tiles, "as_scanned": time_queries(catalog)}
        started = perf_counter()
        compact(catalog)
        report["compact_seconds"] = round(perf_counter() - started, 1)
        report["compacted"] = time_queries(catalog)
        report["catalog"] = info(catalog)["crystals"]
    print(json.dumps(report, default=str))


def fill(catalog: Catalog, crystals: int, commit: int) -> int:
    """Commit tiles of random depths until there are enough crystals; returns their number."""
    rendered = render_tile(0)
    analyzer = Analyzer(load_segmenter(), load_classifier())
    (tile_crystals,) = analyzer.analyze([Micrograph(rendered.image, 0.05, "manifest", "rendered")])
    total = -(-crystals // len(tile_crystals))
    depths = TOP_M + LENGTH_M * np.random.default_rng(0).random(total)
    for start in range(0, total, commit):
        tiles = [
            Tile(
                tile_id=tile_id(f"rendered/{i}"),
                uri=f"rendered/{i}",
                well=f"W-{i % WELLS}",
                depth_m=round(float(depths[i]), 2),
                segmenter=analyzer.segmenter.name,
                classifier=analyzer.classifier.name,
                scan_id="benchmark",
                n_crystals=len(tile_crystals),
            )
            for i in range(start, min(start + commit, total))
        ]
        tile_rows = tile_table(tiles)
        rows = crystal_table(tile_rows, [tile_crystals] * len(tiles), catalog.depth_bin_m)
        catalog.commit(rows, tile_rows)
    return total


def time_queries(catalog: Catalog) -> dict[str, float]:
    """Median milliseconds of ten queries, and the rows of one."""
    times = []
    for _ in range(10):
        started = perf_counter()
        rows = query(catalog, ["W-1"], (1400.0, 1450.0))
        times.append(perf_counter() - started)
    return {"milliseconds": round(1000 * median(times), 1), "rows": rows.num_rows}


if __name__ == "__main__":
    main()
