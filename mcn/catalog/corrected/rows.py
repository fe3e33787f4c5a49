"""The table `corrections`: its columns, and the values that its rows give the crystals.

A correction is a row of its own, and the rows of the models stay as they are. What counts for a
crystal is the last value of each column among the rows that are not undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from mcn.catalog.data_files import DataFile, write_part
from mcn.catalog.delta_tables import CATALOG_FORMAT, grow
from mcn.catalog.integrity.damage import fault_of_bytes
from mcn.catalog.integrity.delta_log import check_entries, open_table, sealed
from mcn.catalog.schema import depth_bin
from mcn.catalog.storage import (
    CatalogStorageError,
    explained,
    log_options,
    retry_conflict,
    retry_response,
    storage_trouble,
)
from mcn.catalog.wells import plain_well, spell_wells
from mcn.crystals import classified_schema, required
from mcn.io.objects import fetch

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

NAME: Final = "corrections"
_TIME: Final = pa.timestamp("us", tz="UTC")
_KEPT_FILES: Final = 1024

MODEL_KEY: Final = {
    "model_bbox_x": "bbox_x",
    "model_bbox_y": "bbox_y",
    "model_bbox_w": "bbox_w",
    "model_bbox_h": "bbox_h",
    "model_area_px": "area_px",
}
"""Columns of `corrections` that say which crystal of the segmenter is meant, and the columns of
`crystals` that they equal."""

CORRECTED: Final = pa.schema(
    [
        pa.field("correction", pa.string()),
        pa.field("correction_id", pa.string()),
        pa.field("corrected_by", pa.string()),
        pa.field("corrected_at", _TIME),
    ]
)
"""Further columns of crystals with corrected values; null for crystals as the models found them."""

_ORIGIN: Final = ("tile_id", "well", "depth_m", "segmenter")

_read: dict[str, pa.Table] = {}
"""Rows of the data files read last by their addresses; files never change."""


def corrections_schema(shapes: Sequence[str]) -> pa.Schema:
    """Columns of `corrections`, one row per crystal that a person changed; partitioned by `well`.

    A row has the new values of a crystal in the columns of `crystals`; null is unchanged. Rows of
    one `change_id` were made together. `action` is "shape", "redraw", "delete", "add" or "undo",
    which revokes the change `undoes`. `operation` is what the person did: a merge deletes crystals
    and adds one, a split deletes one and adds several. `was_…` are the values that the person saw.
    The columns of `MODEL_KEY` are the box and area of the crystal as the segmenter found it, which
    stay the same when another classifier scans the tile; null for crystals that a person added.
    """
    return pa.schema(
        [
            required("correction_id", pa.string()),
            required("change_id", pa.string()),
            required("operation", pa.string()),
            required("action", pa.string()),
            pa.field("undoes", pa.string()),
            pa.field("crystal_id", pa.string()),
            required("tile_id", pa.string()),
            required("well", pa.string()),
            required("depth_m", pa.float64()),
            required("corrected_by", pa.string()),
            required("corrected_at", _TIME),
            pa.field("note", pa.string()),
            required("segmenter", pa.string()),
            required("classifier", pa.string()),
            required("scanned_at", _TIME),
            pa.field("was_shape", pa.string()),
            pa.field("was_confidence", pa.float32()),
            pa.field("was_mask_rle", pa.string()),
            *(pa.field(name, pa.int64()) for name in MODEL_KEY),
            *(pa.field(field.name, field.type) for field in classified_schema(shapes)),
        ]
    )


@dataclass(frozen=True, eq=False)
class Corrections:
    """What the corrections of a catalogue, or of some wells, say now.

    Parameters
    ----------
    rows : pa.Table of schema `corrections_schema`
        Every correction in the order in which they count, undone ones included.
    in_effect : (N,) bool array
        Whether each row is not undone.
    changed : pa.Table
        One row per crystal of a segmenter: the columns of `_ORIGIN`, `MODEL_KEY`, `CORRECTED` and
        the new values. `correction` is "delete" for crystals that do not count.
    added : pa.Table
        One row per crystal that a person added and did not delete: as `changed`, with
        `crystal_id` instead of `MODEL_KEY`.
    """

    rows: pa.Table
    in_effect: pa.Array
    changed: pa.Table
    added: pa.Table

    def between(
        self, after: tuple[str, float] | None, last: tuple[str, float] | None, depth_bin_m: float
    ) -> Corrections:
        """Those with added crystals only after one well and depth bin, up to another."""
        bins = depth_bin(self.added["depth_m"].to_numpy(), depth_bin_m).tolist()
        places = zip(self.added["well"].to_pylist(), bins, strict=True)
        inside = [
            (after is None or place > after) and (last is None or place <= last) for place in places
        ]
        return replace(self, added=self.added.filter(pa.array(inside, pa.bool_())))


def read_corrections(catalog: Catalog, wells: Sequence[str] = ()) -> Corrections:
    """The corrections of a catalogue, by well; none if there is no table.

    Of a catalogue as it was, those that had been made by then. Data files never change, so each
    is read once by a process.
    """
    schema = corrections_schema(catalog.shapes)
    table = open_corrections(catalog.uri)
    parts = [schema.empty_table()]
    if table is not None:
        listed = _files(table, wells).to_pylist()
        parts += [_rows_of(catalog.uri, schema, file) for file in listed]
    rows = pa.concat_tables(parts)
    if catalog.until is not None:
        rows = rows.filter(pc.less_equal(rows["corrected_at"], pa.scalar(catalog.until, _TIME)))
    return fold(rows, catalog.shapes)


def open_corrections(uri: str) -> DeltaTable | None:
    """The table of a catalogue; None before the first correction."""
    with explained(uri):
        try:
            return open_table(uri, NAME)
        except TableNotFoundError:
            return None


def commit_corrections(uri: str, rows: pa.Table) -> None:
    """Add corrections of one well in one transaction; any number of processes may do so at once.

    Raises
    ------
    CatalogError
        If the storage fails. Nothing is visible then.
    """
    rows = spell_wells(rows)
    with explained(uri):
        if open_corrections(uri) is None:
            _make(uri, rows.schema)
        part = _write(uri, rows)
        retry_conflict(partial(_change, uri, [part.added()], rows.schema))


def count_files(uri: str, well: str) -> int:
    """Number of data files that hold a well's corrections."""
    table = open_corrections(uri)
    return 0 if table is None else int(_files(table, [well]).num_rows)


def merge_files(uri: str, shapes: Sequence[str], well: str) -> None:
    """Rewrite a well's files of corrections as one; nothing is lost if others correct meanwhile."""
    schema = corrections_schema(shapes)

    def once() -> None:
        table = open_corrections(uri)
        files = [] if table is None else _files(table, [well]).to_pylist()
        if len(files) < 2:
            return
        rows = pa.concat_tables([_rows_of(uri, schema, file) for file in files])
        partition = {"well": files[0]["stored_well"]}
        gone = [
            DataFile(NAME, unquote(file["path"]), file["size_bytes"], 0, partition, "").removed()
            for file in files
        ]
        _change(uri, [*gone, _write(uri, rows).added(data_change=False)], schema, table)

    with explained(uri):
        retry_conflict(once)


def faults(uri: str) -> list[str]:
    """What is wrong with the table: one line for each damaged file or log entry."""
    table = open_corrections(uri)
    if table is None:
        return []
    found = []
    try:
        check_entries(uri, NAME, table, again=True)
    except CatalogStorageError as error:
        found.append(str(error).removeprefix(f"{uri}/"))
    for file in _files(table, ()).to_pylist():
        path = f"{NAME}/{unquote(file['path'])}"
        try:
            fault = fault_of_bytes(path, fetch(f"{uri}/{path}"))
        except FileNotFoundError:
            fault = "missing; restore it from a backup"
        if fault:
            found.append(f"{path}: {fault}")
    return found


def vacuum(uri: str, keep_hours: int, *, dry_run: bool) -> list[str]:
    """Delete files that no recent snapshot needs; see `mcn.catalog.upkeep.maintenance.vacuum`."""
    table = open_corrections(uri)
    if table is None:
        return []
    with explained(uri):
        paths = retry_response(
            partial(
                table.vacuum,
                retention_hours=keep_hours,
                dry_run=dry_run,
                enforce_retention_duration=False,
                full=True,
            )
        )
    return [f"{NAME}/{unquote(path)}" for path in paths]


def fold(rows: pa.Table, shapes: Sequence[str]) -> Corrections:
    """The values that rows of `corrections_schema` give the crystals."""
    rows = rows.sort_by([("corrected_at", "ascending"), ("correction_id", "ascending")])
    revoked = pa.array(_undone_changes(rows), pa.string())
    in_effect = pc.invert(pc.is_in(rows["change_id"], revoked)).combine_chunks()
    live = rows.filter(pc.and_(in_effect, pc.not_equal(rows["action"], "undo")))
    live = live.rename_columns({"action": "correction"})
    is_added = pc.is_null(live["model_area_px"])
    values = [*CORRECTED.names, *classified_schema(shapes).names]
    changed = _last(live.filter(pc.invert(is_added)), [*_ORIGIN, *MODEL_KEY], values)
    added = _last(live.filter(is_added), [*_ORIGIN, "crystal_id"], values)
    # An added crystal stays one whatever was changed later; without its outline, that is undone.
    counts = pc.and_(pc.not_equal(added["correction"], "delete"), pc.is_valid(added["mask_rle"]))
    added = added.filter(counts)
    column = added.schema.get_field_index("correction")
    added = added.set_column(column, "correction", pa.repeat("add", added.num_rows))
    return Corrections(rows, in_effect, changed, added)


def _files(table: DeltaTable, wells: Sequence[str]) -> pa.Table:
    """The table's data files of these wells; of all if none is named."""
    listed = pa.table(table.get_add_actions(flatten=True))
    stored = listed["partition.well"] if listed.num_rows else pa.chunked_array([[]], pa.string())
    listed = pa.table(
        {
            "path": listed["path"],
            "size_bytes": listed["size_bytes"],
            "stored_well": stored,
            "well": pa.array(map(plain_well, stored.to_pylist()), pa.string()),
        }
    )
    if not wells:
        return listed
    wanted = pa.array(map(plain_well, wells), pa.string())
    return listed.filter(pc.is_in(listed["well"], wanted))


def _rows_of(uri: str, schema: pa.Schema, file: dict[str, Any]) -> pa.Table:
    path = f"{uri}/{NAME}/{unquote(file['path'])}"
    if path not in _read:
        try:
            data = fetch(path)
        except OSError as error:
            raise storage_trouble(path, error) from error
        if fault := fault_of_bytes(path, data):
            raise CatalogStorageError(f"{path}: {fault}", "damaged")
        rows = pq.read_table(pa.BufferReader(data))
        rows = rows.append_column("well", pa.repeat(file["well"], rows.num_rows))
        columns = [
            rows[field.name]
            if field.name in rows.column_names
            else pa.nulls(rows.num_rows, field.type)
            for field in schema
        ]
        _read[path] = pa.table(columns, names=schema.names).cast(schema)
        while len(_read) > _KEPT_FILES:
            _read.pop(next(iter(_read)), None)
    return _read[path]


def _write(uri: str, rows: pa.Table) -> DataFile:
    (well,) = pc.unique(rows["well"]).to_pylist()
    return write_part(uri, NAME, rows.drop_columns(["well"]), {"well": well}, "correction")


def _make(uri: str, schema: pa.Schema) -> None:
    # Losing the race to another process that creates the same table is not a failure.
    with suppress(CommitFailedError):
        DeltaTable.create(
            f"{uri}/{NAME}",
            schema,
            mode="ignore",
            partition_by=["well"],
            configuration={"mcn.format": str(CATALOG_FORMAT)},
            storage_options=log_options(uri),
            raise_if_key_not_exists=False,
        )


def _change(
    uri: str,
    actions: Sequence[AddAction | RemoveAction],
    schema: pa.Schema,
    read: DeltaTable | None = None,
) -> None:
    table = read
    if table is None:
        table = open_table(uri, NAME)
        grow(table, schema)
    table.create_write_transaction(
        list(actions), "append", schema, partition_by=["well"], commit_properties=sealed(actions)
    )


def _undone_changes(rows: pa.Table) -> list[str]:
    """The changes that are revoked; a revoked undo revokes nothing."""
    undos = rows.filter(pc.equal(rows["action"], "undo")).select(["change_id", "undoes"])
    revoked: set[str] = set()
    for undo in reversed(undos.to_pylist()):
        if undo["change_id"] not in revoked:
            revoked.add(undo["undoes"])
    return sorted(revoked)


def _last(rows: pa.Table, keys: Sequence[str], values: Sequence[str]) -> pa.Table:
    """The last known value of each column by key."""
    # The order of rows counts, which several threads would not keep.
    groups = rows.group_by(keys, use_threads=False)
    last = groups.aggregate([(name, "last") for name in values])
    return last.rename_columns({f"{name}_last": name for name in values})
