"""The wells of a catalogue: counts, depths and models, without reading the tiles of each again.

Summaries stay in memory, and beside the tables in one small object. Each is of a set of data files,
which never change: if a commit, a compaction or a cleanup has changed a well's files, its summary
is made again from the files. So a lost or outdated object costs time, and is never wrong.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.active_files import TableSnapshot
from mcn.catalog.data_files import digest_of
from mcn.catalog.reading.latest import TILE_KEY, all_tiles, latest_tiles
from mcn.catalog.reading.rows import read_rows
from mcn.catalog.reading.views import reading
from mcn.catalog.schema import FAILED, OK, TILES
from mcn.io.objects import fetch, store

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

STORED_AS: Final = "_wells.arrow"
"""The object's name beside the tables."""

_DIGEST_LENGTH: Final = 32
_AT_ONCE: Final = 500
"""Wells whose tiles are read together."""

_WORTH_STORING: Final = 50
"""So many wells that had to be read are stored by whoever read them."""

_COUNTS: Final = pa.schema(
    [
        pa.field("tiles", pa.int64()),
        pa.field("tiles_ok", pa.int64()),
        pa.field("tiles_failed", pa.int64()),
        pa.field("crystals", pa.int64()),
        pa.field("depth_min_m", pa.float64()),
        pa.field("depth_max_m", pa.float64()),
        pa.field("last_scan", pa.timestamp("us", tz="UTC")),
    ]
)
WELL_LIST: Final[pa.Schema] = pa.schema([pa.field("well", pa.string()), *_COUNTS])
"""Columns of `list_wells`, of the latest models of each tile."""

MODEL_LIST: Final[pa.Schema] = pa.schema(
    [pa.field("segmenter", pa.string()), pa.field("classifier", pa.string()), *_COUNTS]
)
"""Columns of `list_models`, of all scans."""

_SUMMARIES: Final = pa.schema(
    [
        *WELL_LIST,
        pa.field("models", pa.list_(pa.struct([*MODEL_LIST]))),
        pa.field("files", pa.string()),
    ]
)
_READ: Final = ("well", "depth_m", "status", "n_crystals", *TILE_KEY)


class WellSummaries:
    """The summaries of a catalogue's wells that this process knows."""

    def __init__(self) -> None:
        self._of: dict[str, pa.Table] = {}
        self._rows: dict[str, pa.Table] = {}
        self._loaded = False
        self._newest: tuple[TableSnapshot, pa.Table] | None = None
        self._lock = threading.Lock()

    def of(self, catalog: Catalog, tiles: TableSnapshot) -> pa.Table:
        """One row of `_SUMMARIES` for each well of the snapshot, by its name."""
        with self._lock:
            return self._refreshed(catalog, tiles)

    def _refreshed(self, catalog: Catalog, tiles: TableSnapshot) -> pa.Table:
        newest = self._newest
        if newest is not None and newest[0] is tiles:
            return newest[1]
        by_well = tiles.by_well
        if not self._loaded:
            self._load(catalog, tiles)
        # Snapshots share the file lists of the wells that no commit has changed.
        rows = {well: self._rows[well] for well in by_well if self._of.get(well) is by_well[well]}
        missing = [well for well in by_well if well not in rows]
        for start in range(0, len(missing), _AT_ONCE):
            wells = missing[start : start + _AT_ONCE]
            rows |= _by_well(_summarise(catalog, tiles, wells))
        self._of, self._rows = dict(by_well), rows
        summaries = pa.concat_tables(
            [_SUMMARIES.empty_table(), *(rows[well] for well in by_well)]
        ).combine_chunks()
        self._newest = tiles, summaries
        if len(missing) >= _WORTH_STORING and not catalog.versions:
            with suppress(Exception):  # Whoever may only read a catalogue, reads more slowly.
                _store(catalog.uri, summaries)
        return summaries

    def _load(self, catalog: Catalog, tiles: TableSnapshot) -> None:
        self._loaded = True
        by_well = tiles.by_well
        stored = _load(catalog.uri)
        digests = dict(zip(stored["well"].to_pylist(), stored["files"].to_pylist(), strict=True))
        for well, row in _by_well(stored).items():
            if well in by_well and digests[well] == _digest(by_well[well]):
                self._of[well], self._rows[well] = by_well[well], row


def list_wells(catalog: Catalog, tiles: TableSnapshot | None = None) -> pa.Table:
    """One row for each well, by its name.

    Returns
    -------
    pa.Table of schema `WELL_LIST`
        Of the latest models of each tile; depths in metres.
    """
    tiles = tiles or catalog.snapshot().tiles
    return catalog.well_summaries.of(catalog, tiles).select(WELL_LIST.names)


def list_models(
    catalog: Catalog, tiles: TableSnapshot | None = None, wells: Sequence[str] = ()
) -> pa.Table:
    """One row for each pair of models, by their names, of these wells or of all.

    Returns
    -------
    pa.Table of schema `MODEL_LIST`
    """
    tiles = tiles or catalog.snapshot().tiles
    summaries = catalog.well_summaries.of(catalog, tiles)
    if wells:
        summaries = summaries.filter(pc.is_in(summaries["well"], pa.array(wells, pa.string())))
    every = pc.list_flatten(summaries["models"].combine_chunks())
    models = pa.Table.from_struct_array(every) if len(every) else MODEL_LIST.empty_table()
    return _sums(models, ("segmenter", "classifier")).cast(MODEL_LIST)


def store_well_list(catalog: Catalog) -> None:
    """Keep the summaries of all wells for other processes, as far as the storage permits."""
    with suppress(Exception):
        summaries = catalog.well_summaries.of(catalog, catalog.snapshot().tiles)
        _store(catalog.uri, summaries)


def _summarise(catalog: Catalog, tiles: TableSnapshot, wells: Sequence[str]) -> pa.Table:
    tile_files = pa.concat_tables([tiles.by_well[well] for well in wells])
    with reading(catalog, {"tiles": tile_files}):
        rows = read_rows(catalog.live.fragments.of("tiles", tile_files), TILES, _READ)
    counts = _sums(_counted(latest_tiles(rows)), ("well",))
    models = _sums(_counted(all_tiles(rows)), ("well", "segmenter", "classifier"))
    own_models = {
        well: models.filter(pc.equal(models["well"], well)).select(MODEL_LIST.names).to_pylist()
        for well in wells
    }
    names = counts["well"].to_pylist()
    columns = {name: counts[name] for name in WELL_LIST.names}
    columns["models"] = pa.array(
        [own_models[well] for well in names], _SUMMARIES.field("models").type
    )
    columns["files"] = pa.array([_digest(tiles.by_well[well]) for well in names])
    return pa.table(columns).cast(_SUMMARIES)


def _counted(rows: pa.Table) -> pa.Table:
    """Rows of tiles with the columns that `_sums` adds up."""
    own = {"tiles": pa.repeat(pa.scalar(1, pa.int64()), rows.num_rows)}
    own |= {
        name: pc.cast(pc.equal(rows["status"], status), pa.int64())
        for name, status in (("tiles_ok", OK), ("tiles_failed", FAILED))
    }
    own["crystals"] = pc.cast(rows["n_crystals"], pa.int64())
    own |= {"depth_min_m": rows["depth_m"], "depth_max_m": rows["depth_m"]}
    own["last_scan"] = rows["scanned_at"]
    return pa.table({name: rows[name] for name in ("well", "segmenter", "classifier")} | own)


def _sums(rows: pa.Table, by: Sequence[str]) -> pa.Table:
    how = {"depth_min_m": "min", "depth_max_m": "max", "last_scan": "max"}
    wanted = [(name, how.get(name, "sum")) for name in _COUNTS.names]
    sums = rows.group_by([*by], use_threads=False).aggregate(wanted)
    sums = sums.sort_by([(name, "ascending") for name in by])
    return pa.table(
        {name: sums[name] for name in by} | {name: sums[f"{name}_{kind}"] for name, kind in wanted}
    )


def _by_well(summaries: pa.Table) -> dict[str, pa.Table]:
    wells = summaries["well"].to_pylist()
    return {well: summaries.slice(index, 1) for index, well in enumerate(wells)}


def _digest(tile_files: pa.Table) -> str:
    """Which files a summary is of."""
    paths: Iterable[str] = sorted(tile_files["path"].to_pylist())
    return hashlib.blake2b("\n".join(paths).encode(), digest_size=16).hexdigest()


def _store(uri: str, summaries: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(
        sink, _SUMMARIES, options=pa.ipc.IpcWriteOptions(compression="zstd")
    ) as writer:
        writer.write_table(summaries)
    data = sink.getvalue().to_pybytes()
    store(f"{uri}/{STORED_AS}", digest_of(data).encode() + data)


def _load(uri: str) -> pa.Table:
    """The stored summaries; none if they are missing, damaged or of another version."""
    with suppress(OSError, pa.ArrowException):
        content = fetch(f"{uri}/{STORED_AS}")
        digest, data = content[:_DIGEST_LENGTH], content[_DIGEST_LENGTH:]
        if digest == digest_of(data).encode():
            stored = pa.ipc.open_stream(data).read_all()
            if stored.schema.equals(_SUMMARIES):
                return stored
    return _SUMMARIES.empty_table()
