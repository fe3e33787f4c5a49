"""Read: fetch and decode tiles."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from time import perf_counter
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.io.objects import ObjectError, fetch, one_line
from mcn.micrograph import Limits, Micrograph, MicrographError, decode_micrograph
from mcn.sources.sidecar import find_sidecars, read_sidecar
from pipelines.fault_isolation.isolator import FaultIsolator
from pipelines.planning import PlanSlice
from pipelines.resources import StageResources
from pipelines.stages import rows
from pipelines.stages.outcomes import columns_of, split_outcomes

_TABLE_BYTES: Final = 4 * 2**20
_UNKNOWN_BYTES: Final = 2**20
"""Assumed size of a tile that is listed without a size."""

Fetched = tuple[bytes, str | None]


class ReadTiles:
    """Fetches and decodes tiles: a `PlanSlice` of a plan in, `READ` out.

    Parameters
    ----------
    limits : Limits
    isolator : FaultIsolator, optional
    seeks_sidecars : bool
        Look in storage for the sidecars of tiles that are listed without one, as a manifest may.
    """

    TILES_PER_TABLE: Final = 8
    """Maximum number of tiles in a table. Small tiles share a table, which costs less per tile."""

    PREFETCHED: Final = 2
    """Tables fetched in advance, because object stores have a long latency."""

    def __init__(
        self, limits: Limits, isolator: FaultIsolator | None = None, seeks_sidecars: bool = False
    ) -> None:
        self._limits = limits
        self._isolator = isolator or FaultIsolator("read")
        self._seeks_sidecars = seeks_sidecars

    @staticmethod
    def pool(cores: float, gpus: float) -> StageResources:
        """A small share of a core: reading takes a fraction of the time that the models take."""
        del gpus
        return StageResources(
            least=1, most=max(2, int(cores)), cpus=0.1, gpus=0, batch=1024, seconds=120
        )

    def __call__(self, slices: pa.Table) -> Iterator[pa.Table]:
        """Read slices of a plan, given as rows of `PlanSlice.as_table`."""
        for plan_slice in PlanSlice.all_in(slices):
            yield from self.read(plan_slice.read())

    def read(self, tiles: pa.Table) -> Iterator[pa.Table]:
        """Read tiles of schema `PLANNED` into small tables, which bounds the memory in use.

        The same tiles always give the same tables, so a worker that replaces a lost one
        repeats its output exactly.
        """
        with ThreadPoolExecutor(self.TILES_PER_TABLE) as threads:
            batches = _split_by_bytes(tiles, self.TILES_PER_TABLE)
            prefetched = deque(
                self._fetch_all(threads, batch) for batch in islice(batches, self.PREFETCHED)
            )
            while prefetched:
                batch, fetches = prefetched.popleft()
                if self._isolator.draining:
                    return
                for following in islice(batches, 1):
                    prefetched.append(self._fetch_all(threads, following))
                yield self._decode_all(batch, fetches)

    def _fetch_all(
        self, threads: ThreadPoolExecutor, batch: pa.Table
    ) -> tuple[pa.Table, list[tuple[dict[str, Any], Future[Fetched]]]]:
        tiles = batch.to_pylist()
        return batch, [(tile, threads.submit(self._fetch, tile)) for tile in tiles]

    def _decode_all(
        self, batch: pa.Table, fetches: list[tuple[dict[str, Any], Future[Fetched]]]
    ) -> pa.Table:
        started = perf_counter()
        outcomes = self._isolator.run(
            batch["tile_id"].to_pylist(),
            fetches,
            self._decode,
            lambda fetch: _fetched_bytes(fetch[1]),
        )
        micrographs, errors = split_outcomes(outcomes)
        seconds_per_tile = (perf_counter() - started) / len(fetches)
        return pa.table(
            {
                **columns_of(batch, rows.ORIGIN),
                **rows.pack_micrographs(micrographs),
                "seconds": pa.repeat(seconds_per_tile, len(fetches)),
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
            raise MicrographError(
                f"{uri}: the object no longer exists; list the tiles again"
            ) from error
        except ObjectError as error:
            raise MicrographError(str(error)) from error

    def _sidecars(self, tile: dict[str, Any], text: str | None) -> Iterator[str]:
        """Texts of the sidecars of a tile: the listed one first, then any other in storage."""
        if text is not None:
            yield text
        if text is None and not self._seeks_sidecars:
            return
        try:
            for sidecar in find_sidecars(tile["uri"]):
                if sidecar != tile["sidecar"]:
                    yield read_sidecar(sidecar)
        except Exception as error:
            # Storage libraries share no base class of errors.
            raise MicrographError(
                f"{tile['uri']}: its sidecar cannot be read ({one_line(error)}); "
                "scan the tile again"
            ) from error

    def _decode(
        self, fetches: Sequence[tuple[dict[str, Any], Future[Fetched]]], shrink: int
    ) -> Iterator[Micrograph]:
        del shrink
        for tile, fetched in fetches:
            data, text = fetched.result()
            yield decode_micrograph(
                data,
                tile["uri"],
                pixel_size_um=tile["pixel_size_um"],
                sidecar=self._sidecars(tile, text),
                limits=self._limits,
            )


def _split_by_bytes(tiles: pa.Table, max_tiles: int) -> Iterator[pa.Table]:
    """Split tiles into consecutive tables of a few MiB, by the sizes in the listing."""
    sizes = pc.fill_null(tiles["bytes"], _UNKNOWN_BYTES).to_numpy()
    start, total = 0, 0
    for i, size in enumerate(sizes.tolist()):
        if i > start and (i - start >= max_tiles or total + size > _TABLE_BYTES):
            yield tiles.slice(start, i - start)
            start, total = i, 0
        total += size
    if start < len(sizes):
        yield tiles.slice(start)


def _fetched_bytes(fetched: Future[Fetched]) -> int:
    if not fetched.done() or fetched.exception():
        return 0
    return len(fetched.result()[0])
