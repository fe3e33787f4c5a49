"""The stages of a scan: read, segment, classify. Each says beside its work what it needs.

A stage takes a batch of tiles and gives a row for each, whatever happens: work that fails on a
batch is tried again tile by tile, and a tile that fails alone keeps its row with the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

import pyarrow as pa

from mcn.analyzer import (
    Classifier,
    Segmented,
    Segmenter,
    classify_segmented,
    segment_micrographs,
)
from mcn.catalog.schema import FAILED, OK, Tile, crystal_table, tile_table
from mcn.crystal import Crystal
from mcn.errors import McnError
from mcn.micrograph import Limits, Micrograph, MicrographError, decode_micrograph, note_text
from mcn.source import filesystem_of, one_line
from pipelines import rows

_SIDECAR_BYTES = 2**20

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Pool:
    """What a stage asks of the cluster.

    Parameters
    ----------
    workers : int
        Actors of a stage with a model; at most so many tasks at once of one without.
    num_cpus, num_gpus : float
        Share of a core and a GPU for each worker. The shares leave every stage some of the
        cores, however few there are, so that none waits for another.
    batch_size : int
        Tiles a call.
    threads : int
        Threads of the model's library in each worker.
    """

    workers: int
    num_cpus: float
    num_gpus: float
    batch_size: int
    threads: int = 1


@dataclass(frozen=True)
class Failure:
    """Why a tile came to nothing, on one line."""

    reason: str


@dataclass(frozen=True)
class Stamp:
    """What every row of one scan has in common."""

    segmenter: str
    classifier: str
    scan_id: str
    depth_bin_m: float


class ModelError(McnError):
    """A worker that has another model than the scan is for."""


class ReadTiles:
    """Fetches and decodes tiles: `mcn.source.LISTED` in, `READ` out, a tile at a time."""

    FETCHES = 8
    """Objects of a batch fetched at once: object stores answer slowly, but many."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    @staticmethod
    def pool(cores: float, gpus: float) -> Pool:
        """Few cores, since a tile is read in a fraction of the time it takes a model.

        A batch is also what later stages are handed at once, so it is not long in seconds.
        """
        size = 64 if gpus >= 1 else 16
        return Pool(workers=max(2, int(cores)), num_cpus=0.1, num_gpus=0, batch_size=size)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Read a batch; yields tables of one tile, so that memory is bounded by bytes."""
        with ThreadPoolExecutor(self.FETCHES) as threads:
            fetches = [(tile, threads.submit(self._fetch, tile)) for tile in batch.to_pylist()]
            for i, fetch in enumerate(fetches):
                started = perf_counter()
                micrographs, errors = _apart(settle("reading", self._decode, [fetch]))
                yield pa.table(
                    {
                        **_columns(batch.slice(i, 1), rows.ORIGIN),
                        **rows.pack_micrographs(micrographs),
                        "seconds": pa.array([perf_counter() - started]),
                        "error": pa.array(errors, pa.string()),
                    }
                ).select(rows.READ.names)

    def _fetch(self, tile: dict[str, Any]) -> tuple[bytes, str | None]:
        data = _bytes_of(tile["uri"], tile["bytes"], self._limits.max_bytes)
        if tile["sidecar"] is None:
            return data, None
        return data, note_text(_bytes_of(tile["sidecar"], None, _SIDECAR_BYTES))

    def _decode(
        self, fetches: Sequence[tuple[dict[str, Any], Future[tuple[bytes, str | None]]]]
    ) -> Iterator[Micrograph]:
        for tile, fetch in fetches:
            data, sidecar = fetch.result()
            yield decode_micrograph(
                data,
                tile["uri"],
                pixel_size_um=tile["pixel_size_um"],
                sidecar=sidecar,
                limits=self._limits,
            )


class SegmentTiles:
    """Finds crystals: `READ` in, `SEGMENTED` out."""

    def __init__(self, load: Callable[[], Segmenter], threads: int, stamp: Stamp) -> None:
        self._segmenter = load()
        _check_name(self._segmenter.name, stamp.segmenter)
        _limit_threads(threads)

    @staticmethod
    def pool(cores: float, gpus: float) -> Pool:
        """Most of each GPU, else most of each core: this is where the time goes."""
        if gpus >= 1:
            return Pool(int(gpus), num_cpus=0.5, num_gpus=0.75, batch_size=16)
        # A thread an actor does more than an actor with many threads: nothing is shared.
        return Pool(max(1, int(cores)), num_cpus=0.7, num_gpus=0, batch_size=4)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Segment a batch."""
        outcomes, seconds, errors = _work(
            "segmentation",
            partial(segment_micrographs, self._segmenter),
            rows.unpack_micrographs(batch),
            batch,
        )
        return pa.table(
            {
                **_columns(batch, (*rows.ORIGIN, *rows.PICTURE)),
                **rows.pack_segmented(outcomes),
                "seconds": seconds,
                "error": errors,
            }
        ).select(rows.SEGMENTED.names)


class ClassifyTiles:
    """Names shapes and writes the catalogue's rows: `SEGMENTED` in, `classified` out."""

    def __init__(self, load: Callable[[], Classifier], threads: int, stamp: Stamp) -> None:
        self._classifier = load()
        _check_name(self._classifier.name, stamp.classifier)
        _limit_threads(threads)
        self._stamp = stamp

    @staticmethod
    def pool(cores: float, gpus: float) -> Pool:
        """The rest of each GPU, else little of few cores: crops are small."""
        if gpus >= 1:
            return Pool(int(gpus), num_cpus=0.2, num_gpus=0.25, batch_size=32)
        return Pool(max(1, int(cores) // 8), num_cpus=0.2, num_gpus=0, batch_size=8)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Classify a batch."""
        segmented = rows.unpack_segmented(batch)
        outcomes, seconds, errors = _work(
            "classification",
            partial(classify_segmented, self._classifier),
            segmented,
            batch,
        )
        found: list[tuple[Tile, Sequence[Crystal]]] = [
            (self._tile(row, picture, crystals), crystals or ())
            for row, picture, crystals in zip(
                batch.select([*rows.ORIGIN, *rows.PICTURE])
                .drop_columns("data_bar_y")
                .append_column("seconds", seconds)
                .append_column("error", errors)
                .to_pylist(),
                segmented,
                outcomes,
                strict=True,
            )
        ]
        shapes = self._classifier.taxonomy.shapes
        crystals = crystal_table(found, self._stamp.depth_bin_m, shapes).combine_chunks()
        as_structs = crystals.to_struct_array().combine_chunks()
        lists = rows.in_lists(as_structs, [len(its) for _, its in found])
        return tile_table([tile for tile, _ in found]).append_column("crystals", lists)

    def _tile(
        self, row: dict[str, Any], picture: Segmented | None, crystals: list[Crystal] | None
    ) -> Tile:
        found: dict[str, Any] = {}
        if picture is not None and crystals is not None:
            share = picture.covered_px / max(1, picture.analysed_px)
            found = {"n_crystals": len(crystals), "crystal_area_fraction": share}
        row["pixel_size_source"] = row["pixel_size_source"] or "unknown"
        return Tile(
            **row,
            **found,
            status=OK if row["error"] is None else FAILED,
            segmenter=self._stamp.segmenter,
            classifier=self._stamp.classifier,
            scan_id=self._stamp.scan_id,
        )


def settle(stage: str, work: Callable[[Sequence[T]], Any], items: Sequence[T]) -> list[Any]:
    """Do work on items together, or where that fails one by one.

    Returns
    -------
    list
        For each item what `work` gave, or a `Failure`.
    """
    try:
        outcomes = list(work(items))
        if len(outcomes) != len(items):
            raise ValueError(f"{len(outcomes)} results for {len(items)} tiles")
        return outcomes
    except Exception as error:
        if len(items) == 1:
            return [Failure(_reason(stage, error))]
        return [outcome for item in items for outcome in settle(stage, work, [item])]


def _work(
    stage: str, work: Callable[[Sequence[T]], list[R]], items: Sequence[T | None], batch: pa.Table
) -> tuple[list[R | None], pa.Array, pa.Array]:
    """Results of a batch with the time and the errors so far; failed tiles are passed over."""
    started = perf_counter()
    there = [item for item in items if item is not None]
    outcomes = iter(settle(stage, work, there) if there else ())
    results, failures = _apart([None if item is None else next(outcomes) for item in items])
    each = (perf_counter() - started) / max(1, len(there))
    before = batch.select(["seconds", "error"]).to_pylist()
    seconds = [row["seconds"] + each * (row["error"] is None) for row in before]
    errors = [row["error"] or failure for row, failure in zip(before, failures, strict=True)]
    return results, pa.array(seconds, pa.float64()), pa.array(errors, pa.string())


def _columns(batch: pa.Table, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    return {name: batch[name] for name in names}


def _apart(outcomes: Sequence[Any]) -> tuple[list[Any], list[str | None]]:
    results = [None if isinstance(outcome, Failure) else outcome for outcome in outcomes]
    errors = [outcome.reason if isinstance(outcome, Failure) else None for outcome in outcomes]
    return results, errors


def _reason(stage: str, error: Exception) -> str:
    if isinstance(error, McnError):
        return one_line(error)
    return f"{stage} failed: {type(error).__name__}: {one_line(error)}"


def _bytes_of(uri: str, size: int | None, most: int) -> bytes:
    fs, path = filesystem_of(uri)
    try:
        if size is None:
            size = fs.size(path)
        if size > most:
            raise MicrographError(f"{uri}: it has {size} bytes, and a tile may have {most}")
        # Naming both ends spares object stores a request for the size, but none may be empty.
        return fs.cat_file(path, start=0, end=size) if size else b""
    except FileNotFoundError as error:
        raise MicrographError(f"{uri}: there is no such object any more; list again") from error


def _check_name(loaded: str, expected: str) -> None:
    """Rows name the model that made them, so every worker must have that very model."""
    if loaded != expected:
        raise ModelError(
            f"a worker loaded {loaded}, not {expected}; install the same mcn and the same weights "
            "on all machines"
        )


def _limit_threads(threads: int) -> None:
    """Keep the library of a model just loaded from fighting other processes for cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
