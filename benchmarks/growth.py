"""Time and memory to plan a scan of a long manifest with a large catalogue.

A manifest of ten million tiles (Parquet) and a catalogue that has five million of them, in
500 wells: the time until the plan is written, and the peak memory of the process. Making the
files is not counted. Prints one JSON object.

    python benchmarks/growth.py [--manifest N] [--catalog N]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from mcn.catalog.data_files import write_data_files
from mcn.catalog.schema import TILES
from mcn.catalog.store import Catalog

MODELS = ("compact@0123456789ab", "nsr@0123456789ab")
WELLS = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", type=int, default=10_000_000)
    parser.add_argument("--catalog", type=int, default=5_000_000)
    parser.add_argument("--plan", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan:
        print(json.dumps(plan(*options.plan)))
        return
    with tempfile.TemporaryDirectory(prefix="mcn-growth-") as folder:
        manifest, catalog = Path(folder, "manifest.parquet"), Path(folder, "catalog")
        write_manifest(manifest, options.manifest)
        fill(catalog, options.catalog)
        # In a separate process, so that the memory is that of planning alone.
        done = subprocess.run(
            [sys.executable, __file__, "--plan", str(manifest), str(catalog)],
            stdout=subprocess.PIPE,
            text=True,
            timeout=7200,
            check=True,
        )
    print(
        json.dumps(
            {"manifest": options.manifest, "catalog": options.catalog, **json.loads(done.stdout)}
        )
    )


def plan(manifest: str, catalog: str) -> dict[str, Any]:
    from mcn.catalog.upkeep.scan_lease import folder_of
    from mcn.sources.manifest import read_manifest
    from pipelines.planning import make_plan

    store = Catalog.open(catalog)
    started = time.perf_counter()
    listed = read_manifest(manifest, "s3://survey")
    scan_plan = make_plan(listed, store, MODELS, folder_of(store, "growth"))
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "to_scan": scan_plan.to_scan,
        "skipped": scan_plan.skipped,
        "wells": len(scan_plan.wells),
    }


_TILE = f"""
    SELECT printf('s3://survey/core/well=W%03d/depth=%d/tile-%d.tif',
            i * 7919 % {WELLS}, i // {WELLS}, i) AS uri,
        printf('W%03d', i * 7919 % {WELLS}) AS well,
        (i // {WELLS})::DOUBLE / 4 AS depth_m,
        md5(i::VARCHAR) AS etag
    FROM range($first, $last) r(i)
"""


def write_manifest(path: Path, tiles: int) -> None:
    """Write every tile, not sorted by well."""
    batches = duckdb.sql(_TILE, params={"first": 0, "last": tiles}).to_arrow_reader(1_000_000)
    with pq.ParquetWriter(path, batches.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def fill(uri: Path, tiles: int) -> None:
    """Fill a catalogue with the first tiles, in ten commits."""
    catalog = Catalog.create(uri)
    step = -(-tiles // 10)
    for first in range(0, tiles, step):
        rows = duckdb.sql(_TILE, params={"first": first, "last": min(tiles, first + step)})
        tile_rows = rows.project(
            "sha256(uri)[1:32] AS tile_id, uri, etag, well, depth_m, "
            "1024 AS width, 768 AS height, 0.02 AS pixel_size_um, 'vendor' AS pixel_size_source, "
            "100 AS n_crystals, 0.6 AS crystal_area_fraction, 'ok' AS status, NULL AS error, "
            f"'{MODELS[0]}' AS segmenter, '{MODELS[1]}' AS classifier, 'scan' AS scan_id, "
            "now() AS scanned_at, 0.2 AS seconds"
        ).to_arrow_table()
        stamp = pa.repeat(
            pa.scalar(datetime.now(UTC), TILES.field("scanned_at").type), len(tile_rows)
        )
        column = tile_rows.schema.get_field_index("scanned_at")
        tile_rows = (
            tile_rows.set_column(column, "scanned_at", stamp).select(TILES.names).cast(TILES)
        )
        parts = write_data_files(catalog.uri, {"tiles": tile_rows}, "growth")
        catalog.commit_parts(parts)


if __name__ == "__main__":
    main()
