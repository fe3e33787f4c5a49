"""Estimate time and cost of a scan, and list the assumptions."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mcn.catalog.query import sql
from mcn.catalog.store import Catalog
from mcn.errors import McnError
from pipelines.models import ScanModels
from pipelines.scan import ScanSettings, list_tiles, run_scan

BUSY = 0.9
"""Share of the time for which a scan keeps its workers busy; measured by `make bench-scan`."""


class EstimateError(McnError):
    """An estimate is impossible; the message says why."""


@dataclass(frozen=True)
class ScanRate:
    """How fast one worker is.

    Parameters
    ----------
    tiles_per_second : float
        Rate of one worker that is always busy.
    source : str
        Where the rate comes from.
    """

    tiles_per_second: float
    source: str


@dataclass(frozen=True)
class Estimate:
    """Estimated time and cost of a scan.

    Parameters
    ----------
    tiles, workers : int
        Tiles to scan, and parallel workers (GPUs, or cores if there are none).
    tiles_per_second : float
        Rate of all workers together.
    hours, worker_hours : float
        Duration, and the sum of it over all workers.
    cost : float or None
        Worker hours times the price of one; None if no price is given.
    assumptions : tuple of str
        One line each.
    """

    tiles: int
    workers: int
    tiles_per_second: float
    hours: float
    worker_hours: float
    cost: float | None
    assumptions: tuple[str, ...]


def estimate(
    tiles: int, rate: ScanRate, workers: int = 1, price_per_hour: float | None = None
) -> Estimate:
    """Estimate hours, workers and cost of a scan.

    Raises
    ------
    EstimateError
        For fewer than one tile or worker, a rate of 0 or less, or a negative price.
    """
    if tiles < 1 or workers < 1:
        raise EstimateError(f"{tiles} tiles on {workers} workers; give 1 or more of both")
    if not (math.isfinite(rate.tiles_per_second) and rate.tiles_per_second > 0):
        raise EstimateError(f"{rate.tiles_per_second:g} tiles per second; give a rate above 0")
    if price_per_hour is not None and not price_per_hour >= 0:
        raise EstimateError(f"a price of {price_per_hour:g} an hour; give 0 or more")
    total_rate = rate.tiles_per_second * workers * BUSY
    hours = tiles / total_rate / 3600
    assumptions = [
        f"{rate.tiles_per_second:.4g} tiles/s a worker: {rate.source}",
        f"workers are busy {BUSY:.0%} of the time (`make bench-scan` measures it)",
        f"{workers} workers scale evenly: "
        f"storage and network keep up with {total_rate:.4g} tiles/s",
        "all tiles are alike in size and crystals; the time to start machines is not counted",
    ]
    if price_per_hour is not None:
        assumptions.append(f"a worker costs {price_per_hour:g} an hour, storage is not counted")
    cost = None if price_per_hour is None else round(hours * workers * price_per_hour, 2)
    return Estimate(
        tiles,
        workers,
        round(total_rate, 4),
        round(hours, 4),
        round(hours * workers, 4),
        cost,
        tuple(assumptions),
    )


def calibrate(
    tiles: str, settings: ScanSettings, sample: int, models: ScanModels | None = None
) -> tuple[ScanRate, int]:
    """Measure the rate of the workers of this machine on a sample of the tiles.

    The sample is drawn at random from all listed tiles and scanned into a temporary catalogue. The
    rate follows from the mean time that the models took per tile.

    Returns
    -------
    rate : ScanRate
    int
        Number of tiles in the source.

    Raises
    ------
    McnError
        If source or models cannot be used, or no tile of the sample can be read.
    """
    chosen, count = _draw_sample(list_tiles(tiles, settings), sample)
    with tempfile.TemporaryDirectory(prefix="mcn-plan-") as folder:
        manifest = Path(folder, "sample.parquet")
        pq.write_table(chosen, manifest)
        catalog = f"{folder}/catalog"
        run_scan(tiles, catalog, replace(settings, manifest=str(manifest)), models)
        (row,) = sql(
            Catalog.open(catalog),
            "SELECT avg(seconds) AS seconds, count(*) AS tiles FROM tiles WHERE status = 'ok'",
        ).to_pylist()
    if not row["tiles"]:
        raise EstimateError(f"{tiles}: none of {chosen.num_rows} sampled tiles can be read")
    measured = f"measured here on {row['tiles']} of {count} tiles, {row['seconds']:.3g} s each"
    return ScanRate(1 / row["seconds"], measured), count


def _draw_sample(listed: Iterator[pa.RecordBatch], sample: int) -> tuple[pa.Table, int]:
    """A uniform random sample of a stream of tiles, and the number of all tiles."""
    rng = np.random.default_rng(0)
    count = 0
    keys = np.zeros(0)
    chosen: list[pa.Table] = []
    for batch in listed:
        count += batch.num_rows
        tiles = batch.select(["uri", "well", "depth_m", "pixel_size_um", "sidecar"])
        candidates = pa.concat_tables([*chosen, pa.Table.from_batches([tiles])])
        keys = np.concatenate([keys, rng.random(batch.num_rows)])
        smallest = np.argsort(keys)[:sample]
        chosen, keys = [candidates.take(smallest)], keys[smallest]
    return pa.concat_tables(chosen), count
