"""Time and cost of a scan before it is begun, with the assumptions said."""

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
"""Share of a worker's time that a scan uses; `make bench-scan` measures it."""


class EstimateError(McnError):
    """Figures that no estimate can be made of."""


@dataclass(frozen=True)
class ScanRate:
    """How fast one worker is.

    Parameters
    ----------
    tiles_per_second : float
        Of one worker that is always busy.
    source : str
        Where the rate comes from.
    """

    tiles_per_second: float
    source: str


@dataclass(frozen=True)
class Estimate:
    """What a scan takes.

    Parameters
    ----------
    tiles, workers : int
        Tiles to scan, and workers (GPUs, or cores without any) side by side.
    tiles_per_second : float
        Of all workers together.
    hours, worker_hours : float
        Time on the clock, and that time all workers together.
    cost : float or None
        Worker hours at the price of one; None where no price is given.
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
    tiles: int, pace: ScanRate, workers: int = 1, price_per_hour: float | None = None
) -> Estimate:
    """Hours, workers and cost of scanning so many tiles.

    Raises
    ------
    EstimateError
        For numbers that are no numbers of tiles, workers or money.
    """
    if tiles < 1 or workers < 1:
        raise EstimateError(f"{tiles} tiles on {workers} workers; give 1 or more of both")
    if not (math.isfinite(pace.tiles_per_second) and pace.tiles_per_second > 0):
        raise EstimateError(f"{pace.tiles_per_second:g} tiles per second; give a rate above 0")
    if price_per_hour is not None and not price_per_hour >= 0:
        raise EstimateError(f"a price of {price_per_hour:g} an hour; give 0 or more")
    rate = pace.tiles_per_second * workers * BUSY
    hours = tiles / rate / 3600
    assumptions = [
        f"{pace.tiles_per_second:.4g} tiles/s a worker: {pace.source}",
        f"workers are busy {BUSY:.0%} of the time (`make bench-scan` measures it)",
        f"{workers} workers scale evenly: storage and network keep up with {rate:.4g} tiles/s",
        "all tiles are alike in size and crystals; the time to start machines is not counted",
    ]
    if price_per_hour is not None:
        assumptions.append(f"a worker costs {price_per_hour:g} an hour, storage is not counted")
    cost = None if price_per_hour is None else round(hours * workers * price_per_hour, 2)
    return Estimate(
        tiles,
        workers,
        round(rate, 4),
        round(hours, 4),
        round(hours * workers, 4),
        cost,
        tuple(assumptions),
    )


def calibrate(
    tiles: str, settings: ScanSettings, sample: int, models: ScanModels | None = None
) -> tuple[ScanRate, int]:
    """The pace of this machine's workers on some tiles of a source, and how many it has.

    The sample is drawn by chance from the whole listing and scanned into a catalogue that is
    thrown away; what counts is the time the models took for each tile.

    Returns
    -------
    pace : ScanRate
    int
        Tiles of the source.

    Raises
    ------
    McnError
        Where source or models cannot be used, or no tile of the sample can be read.
    """
    chosen, count = _drawn(list_tiles(tiles, settings), sample)
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
    told = f"measured here on {row['tiles']} of {count} tiles, {row['seconds']:.3g} s each"
    return ScanRate(1 / row["seconds"], told), count


def _drawn(listed: Iterator[pa.RecordBatch], sample: int) -> tuple[pa.Table, int]:
    """So many tiles of a stream, each as likely as any other, and how many there were."""
    chance = np.random.default_rng(0)
    count = 0
    lots = np.zeros(0)
    chosen: list[pa.Table] = []
    for batch in listed:
        count += batch.num_rows
        tiles = batch.select(["uri", "well", "depth_m", "pixel_size_um", "sidecar"])
        every = pa.concat_tables([*chosen, pa.Table.from_batches([tiles])])
        lots = np.concatenate([lots, chance.random(batch.num_rows)])
        best = np.argsort(lots)[:sample]
        chosen, lots = [every.take(best)], lots[best]
    return pa.concat_tables(chosen), count
