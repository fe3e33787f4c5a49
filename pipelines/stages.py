"""The stages of a scan: read, segment, classify, write. Each says beside its work what it needs.

A stage takes a batch of tiles and gives a row for each, whatever happens
(`pipelines.fault_isolation`).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mcn.analyzer import (
    Classifier,
    Segmented,
    Segmenter,
    classify_segmented,
    segment_micrographs,
)
from mcn.catalog.schema import FAILED, OK, TILES, Tile, crystal_table, tile_table
from mcn.catalog.store import Catalog
from mcn.crystals import classified_schema
from mcn.errors import McnError
from mcn.io.objects import ObjectError, fetch, one_line
from mcn.micrograph import Limits, Micrograph, MicrographError, decode_micrograph, page_note
from mcn.sources.sidecar import find_sidecars, read_sidecar
from pipelines import rows
from pipelines.batch import WrittenBatch
from pipelines.fault_isolation import Failure, FaultIsolator
from pipelines.planning import PlanSlice
from pipelines.resources import StageResources

_GROUP_BYTES: Final = 4 * 2**20
_UNKNOWN_BYTES: Final = 2**20
"""What a tile of unknown size is taken for."""

T = TypeVar("T")
R = TypeVar("R")

Fetched = tuple[bytes, str | None]


@dataclass(frozen=True)
class Stamp:
    """What every row of one scan has in common."""

    segmenter: str
    classifier: str
    scan_id: str


class ModelError(McnError):
    """A worker that has another model than the scan is for."""


class ReadTiles:
    """Fetches and decodes tiles: a `PlanSlice` of a plan in, `READ` out.

    Parameters
    ----------
    limits : Limits
    isolator : FaultIsolator, optional
    seeks_sidecars : bool
        Look beside tiles without a sidecar: their list, a manifest, does not know of any.
    """

    GROUP: Final = 8
    """Most tiles in a table: small ones go together, which spares handing them on one by one."""

    AHEAD: Final = 2
    """Groups fetched before they are needed: object stores answer slowly, but many."""

    def __init__(
        self, limits: Limits, isolator: FaultIsolator | None = None, seeks_sidecars: bool = False
    ) -> None:
        self._limits = limits
        self._isolator = isolator or FaultIsolator("read")
        self._seeks_sidecars = seeks_sidecars

    @staticmethod
    def pool(cores: float, gpus: float) -> StageResources:
        """Few cores, since a tile is read in a fraction of the time it takes a model."""
        del gpus
        return StageResources(
            least=1, most=max(2, int(cores)), cpus=0.1, gpus=0, batch=1024, seconds=120
        )

    def __call__(self, pieces: pa.Table) -> Iterator[pa.Table]:
        """Read pieces of a plan."""
        for piece in PlanSlice.all_in(pieces):
            yield from self.read(piece.read())

    def read(self, tiles: pa.Table) -> Iterator[pa.Table]:
        """Read tiles of schema `PLANNED` into small tables, so that memory is bounded by bytes.

        The tables depend on the tiles alone: a worker that takes over from a lost one gives
        the same again.
        """
        with ThreadPoolExecutor(self.GROUP) as threads:
            groups = _groups(tiles, self.GROUP)
            ahead = deque(self._fetch_all(threads, group) for group in islice(groups, self.AHEAD))
            while ahead:
                group, fetches = ahead.popleft()
                if self._isolator.draining:
                    return
                for following in islice(groups, 1):
                    ahead.append(self._fetch_all(threads, following))
                yield self._read(group, fetches)

    def _fetch_all(
        self, threads: ThreadPoolExecutor, group: pa.Table
    ) -> tuple[pa.Table, list[tuple[dict[str, Any], Future[Fetched]]]]:
        tiles = group.to_pylist()
        return group, [(tile, threads.submit(self._fetch, tile)) for tile in tiles]

    def _read(
        self, group: pa.Table, fetches: list[tuple[dict[str, Any], Future[Fetched]]]
    ) -> pa.Table:
        started = perf_counter()
        outcomes = self._isolator.settle(
            group["tile_id"].to_pylist(), fetches, self._decode, lambda fetch: _size(fetch[1])
        )
        micrographs, errors = _apart(outcomes)
        each = (perf_counter() - started) / len(fetches)
        return pa.table(
            {
                **_columns(group, rows.ORIGIN),
                **rows.pack_micrographs(micrographs),
                "seconds": pa.repeat(each, len(fetches)),
                "error": pa.array(errors, pa.string()),
            }
        ).select(rows.READ.names)

    def _fetch(self, tile: dict[str, Any]) -> Fetched:
        uri = tile["uri"]
        if tile.get("fault"):
            raise MicrographError(f"{uri}: {tile['fault']}")
        try:
            data = fetch(uri, tile["bytes"], self._limits.max_bytes)
            if tile["sidecar"] is None:
                return data, None
            uri = tile["sidecar"]
            return data, read_sidecar(uri)
        except FileNotFoundError as error:
            raise MicrographError(f"{uri}: there is no such object any more; list again") from error
        except ObjectError as error:
            raise MicrographError(str(error)) from error

    def _sidecars(self, tile: dict[str, Any], text: str | None) -> Iterator[str]:
        """Texts beside a tile: the listed one, and others where that is not told or not enough."""
        if text is not None:
            yield text
        if text is None and not self._seeks_sidecars:
            return
        try:
            for sidecar in find_sidecars(tile["uri"]):
                if sidecar != tile["sidecar"]:
                    yield read_sidecar(sidecar)
        except Exception as error:
            # Every storage library has errors of its own, and no base is common to them.
            raise MicrographError(
                f"{tile['uri']}: its sidecar cannot be read ({one_line(error)}); scan it again"
            ) from error

    def _decode(
        self, fetches: Sequence[tuple[dict[str, Any], Future[Fetched]]], shrink: int
    ) -> Iterator[Micrograph]:
        del shrink
        for tile, fetching in fetches:
            data, text = fetching.result()
            yield decode_micrograph(
                data,
                tile["uri"],
                pixel_size_um=tile["pixel_size_um"],
                sidecar=self._sidecars(tile, text),
                limits=self._limits,
            )


class SegmentTiles:
    """Finds crystals: `READ` in, `SEGMENTED` out."""

    def __init__(
        self,
        load: Callable[[], Segmenter],
        threads: int,
        stamp: Stamp,
        isolator: FaultIsolator | None = None,
    ) -> None:
        # Loaded with the model: a tile's time is not for imports.
        import mcn.crops  # noqa: F401

        self._segmenter = load()
        _check_name(self._segmenter.name, stamp.segmenter)
        _limit_threads(threads)
        self._isolator = isolator or FaultIsolator("segment")

    @staticmethod
    def pool(cores: float, gpus: float) -> StageResources:
        """Most of each GPU, else most of each core: this is where the time goes."""
        if gpus >= 1:
            return StageResources(
                least=int(gpus), most=int(gpus), cpus=0.5, gpus=0.75, batch=16, seconds=600
            )
        # A thread an actor does more than an actor with many threads: nothing is shared.
        workers = max(1, int(cores))
        return StageResources(least=workers, most=workers, cpus=0.6, gpus=0, batch=4, seconds=600)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Segment a batch; nothing of it when the scan is to stop, for it would take long."""
        if self._isolator.draining:
            return rows.SEGMENTED.empty_table()
        outcomes, seconds, errors = _work(
            self._isolator, self._segment, rows.unpack_micrographs(batch), batch
        )
        return pa.table(
            {
                **_columns(batch, (*rows.ORIGIN, *rows.PICTURE)),
                **rows.pack_segmented(outcomes),
                "seconds": seconds,
                "error": errors,
            }
        ).select(rows.SEGMENTED.names)

    def _segment(self, micrographs: Sequence[Micrograph], shrink: int) -> list[Segmented]:
        return segment_micrographs(_shrunk(self._segmenter, shrink), micrographs)


class ClassifyTiles:
    """Names shapes and writes the catalogue's rows: `SEGMENTED` in, `classified` out."""

    def __init__(
        self,
        load: Callable[[], Classifier],
        threads: int,
        stamp: Stamp,
        isolator: FaultIsolator | None = None,
    ) -> None:
        self._classifier = load()
        _check_name(self._classifier.name, stamp.classifier)
        _limit_threads(threads)
        self._stamp = stamp
        self._isolator = isolator or FaultIsolator("classify")

    @staticmethod
    def pool(cores: float, gpus: float) -> StageResources:
        """The rest of each GPU, else little of few cores: crops are small."""
        if gpus >= 1:
            return StageResources(
                least=int(gpus), most=int(gpus), cpus=0.2, gpus=0.25, batch=32, seconds=120
            )
        workers = max(1, int(cores) // 8)
        return StageResources(least=workers, most=workers, cpus=0.2, gpus=0, batch=8, seconds=120)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Classify a batch."""
        segmented = rows.unpack_segmented(batch)
        outcomes, seconds, errors = _work(self._isolator, self._classify, segmented, batch)
        origins = (
            batch.select([*rows.ORIGIN, *rows.PICTURE])
            .drop_columns("data_bar_y")
            .append_column("seconds", seconds)
            .append_column("error", errors)
            .to_pylist()
        )
        tiles = [
            self._tile(origin, picture, crystals)
            for origin, picture, crystals in zip(origins, segmented, outcomes, strict=True)
        ]
        schema = classified_schema(self._classifier.taxonomy.shapes)
        none = schema.empty_table()
        crystals = rows.pack_crystals(
            [none if table is None else table for table in outcomes], schema
        )
        return tile_table(tiles).append_column("crystals", crystals)

    def _classify(self, segmented: Sequence[Segmented], shrink: int) -> list[pa.Table]:
        del shrink
        return classify_segmented(self._classifier, segmented)

    def _tile(
        self, row: dict[str, Any], picture: Segmented | None, crystals: pa.Table | None
    ) -> Tile:
        counts: dict[str, Any] = {}
        if picture is not None and crystals is not None:
            counts = {
                "n_crystals": crystals.num_rows,
                "crystal_area_fraction": picture.area_fraction,
            }
        row["pixel_size_source"] = row["pixel_size_source"] or "unknown"
        note = page_note(row.pop("pages") or 1)
        return Tile(
            **row,
            **counts,
            note=note,
            status=OK if row["error"] is None else FAILED,
            segmenter=self._stamp.segmenter,
            classifier=self._stamp.classifier,
            scan_id=self._stamp.scan_id,
        )


class WriteTiles:
    """Writes data files for a commit: `classified` in, a row with a `WrittenBatch` out."""

    def __init__(self, catalog: Catalog, scan_id: str) -> None:
        self._catalog = catalog
        self._scan_id = scan_id

    @staticmethod
    def pool(cores: float, gpus: float) -> StageResources:
        """Hardly any core; many tiles a file, since every file is an object and a line of log."""
        del cores, gpus
        return StageResources(least=1, most=2, cpus=0.1, gpus=0, batch=256, seconds=120)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Write a batch."""
        tiles = batch.select(TILES.names)
        found = rows.unpack_crystals(batch["crystals"])
        crystals = crystal_table(tiles, found, self._catalog.depth_bin_m, self._catalog.shapes)
        parts, _ = self._catalog.write(crystals, tiles, self._scan_id)
        return WrittenBatch.of(parts, tiles, crystals).as_table()


def _groups(batch: pa.Table, most: int) -> Iterator[pa.Table]:
    """Consecutive tiles of a few MiB together, by what the list says of their size."""
    sizes = pc.fill_null(batch["bytes"], _UNKNOWN_BYTES).to_numpy()
    start, total = 0, 0
    for i, size in enumerate(sizes.tolist()):
        if i > start and (i - start >= most or total + size > _GROUP_BYTES):
            yield batch.slice(start, i - start)
            start, total = i, 0
        total += size
    if start < len(sizes):
        yield batch.slice(start)


def _size(fetching: Future[Fetched]) -> int:
    if not fetching.done() or fetching.exception():
        return 0
    return len(fetching.result()[0])


def _shrunk(segmenter: Segmenter, times: int) -> Segmenter:
    """A segmenter that needs less memory, as far as it can."""
    for _ in range(times):
        smaller = getattr(segmenter, "in_smaller_windows", lambda: None)()
        if smaller is None:
            break
        segmenter = smaller
    return segmenter


def _work(
    isolator: FaultIsolator,
    work: Callable[[Sequence[T], int], list[R]],
    items: Sequence[T | None],
    batch: pa.Table,
) -> tuple[list[R | None], pa.Array, pa.Array]:
    """Results of a batch with the time and the errors so far; failed tiles are passed over."""
    started = perf_counter()
    names = batch["tile_id"].to_pylist()
    there = [(name, item) for name, item in zip(names, items, strict=True) if item is not None]
    outcomes = iter(isolator.settle([name for name, _ in there], [item for _, item in there], work))
    results, failures = _apart([None if item is None else next(outcomes) for item in items])
    each = (perf_counter() - started) / max(1, len(there))
    before = batch.select(["seconds", "error"])
    failed = np.array([error is not None for error in before["error"].to_pylist()])
    seconds = before["seconds"].to_numpy() + each * ~failed
    errors = [
        error or failure
        for error, failure in zip(before["error"].to_pylist(), failures, strict=True)
    ]
    return results, pa.array(seconds, pa.float64()), pa.array(errors, pa.string())


def _columns(batch: pa.Table, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    return {name: batch[name] for name in names}


def _apart(outcomes: Sequence[Any]) -> tuple[list[Any], list[str | None]]:
    results = [None if isinstance(outcome, Failure) else outcome for outcome in outcomes]
    errors = [outcome.reason if isinstance(outcome, Failure) else None for outcome in outcomes]
    return results, errors


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
