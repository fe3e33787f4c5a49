"""Run the work of a stage on a batch and turn the outcomes into columns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from pipelines.fault_isolation.isolator import Failure, FaultIsolator

T = TypeVar("T")
R = TypeVar("R")


def run_batch(
    isolator: FaultIsolator,
    work: Callable[[Sequence[T], int], list[R]],
    items: Sequence[T | None],
    batch: pa.Table,
) -> tuple[list[R | None], pa.Array, pa.Array]:
    """Run work on the tiles of a batch that have not failed yet.

    Parameters
    ----------
    isolator : FaultIsolator
    work : callable
        Takes items and the retry's memory reduction; see `FaultIsolator.run`.
    items : sequence
        One per tile; None for a tile that failed in an earlier stage.
    batch : Table
        The tiles, with `tile_id`, `seconds` and `error`.

    Returns
    -------
    results : list
        One per tile; None for a tile that has failed.
    seconds : Array
        Time spent on each tile so far, float64.
    errors : Array
        Error of each tile or null, string.
    """
    started = perf_counter()
    tile_ids = batch["tile_id"].to_pylist()
    pending = [(tile, item) for tile, item in zip(tile_ids, items, strict=True) if item is not None]
    outcomes = iter(
        isolator.run([tile for tile, _ in pending], [item for _, item in pending], work)
    )
    results, failures = split_outcomes([None if item is None else next(outcomes) for item in items])
    seconds_per_tile = (perf_counter() - started) / max(1, len(pending))
    before = batch.select(["seconds", "error"])
    failed = np.array([error is not None for error in before["error"].to_pylist()], bool)
    seconds = before["seconds"].to_numpy() + seconds_per_tile * ~failed
    errors = [
        error or failure
        for error, failure in zip(before["error"].to_pylist(), failures, strict=True)
    ]
    return results, pa.array(seconds, pa.float64()), pa.array(errors, pa.string())


def columns_of(batch: pa.Table, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """Some columns of a table, by name."""
    return {name: batch[name] for name in names}


def split_outcomes(outcomes: Sequence[Any]) -> tuple[list[Any], list[str | None]]:
    """Results and errors of outcomes: each outcome has one of them and None for the other."""
    results = [None if isinstance(outcome, Failure) else outcome for outcome in outcomes]
    errors = [outcome.reason if isinstance(outcome, Failure) else None for outcome in outcomes]
    return results, errors


def limit_threads(threads: int) -> None:
    """Limit the threads of PyTorch, if it is loaded, so that workers do not compete for cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
