"""Rewriting data files: merging small ones, and removing rows of outdated tiles.

Files are written as in a scan, with page checksums and a digest in each name. The rewriting
that `deltalake` offers (`optimize`, `delete`) gives neither.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from mcn.catalog.active_files import TableSnapshot, dataset, files
from mcn.catalog.data_files import PARTITIONS, ROW_GROUP_ROWS, DataFile, in_folder, write_part
from mcn.catalog.integrity.damage import damage_named
from mcn.catalog.schema import TILES
from mcn.catalog.storage import explained

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

_AT_ONCE: Final = 500
"""Files whose footers are read together."""

_KEY: Final = ["tile_id", "segmenter", "classifier", "scanned_at"]


def merge_small_files(
    catalog: Catalog,
    name: str,
    wells: Sequence[str],
    target_bytes: int,
    find: Callable[[Catalog, str, pa.Table, int], list[dict[str, Any]]] | None = None,
) -> None:
    """Rewrite partitions of several small files, or of an older layout, as few large files.

    The new files are sorted by depth and have small row groups. `find` chooses the partitions;
    default is `partitions_to_rewrite`.

    Raises
    ------
    CatalogError
        With `CommitFailedError` as its cause, if another process has removed one of the files.
        Nothing has changed then, and the call may be repeated.
    """
    table = catalog.delta_table(name)
    data_files = files(TableSnapshot.of(name, table), wells)
    new: list[DataFile] = []
    old: list[pa.Table] = []
    find = find or partitions_to_rewrite
    for partition in find(catalog, name, data_files, target_bytes):
        partition_files = _of_partition(data_files, partition)
        with damage_named(catalog.uri, {name: partition_files}):
            new += [
                _write(catalog, name, rows, partition, "compact")
                for rows in _depth_ranges(catalog, name, partition_files, target_bytes)
            ]
        old.append(partition_files)
    if old:
        _replace(catalog, name, table, pa.concat_tables(old), new, data_change=False)


def partitions_to_rewrite(
    catalog: Catalog,
    name: str,
    data_files: pa.Table,
    target_bytes: int,
    *,
    only_small: bool = False,
) -> list[dict[str, Any]]:
    """Partitions that have more files than their bytes need, or larger row groups than now."""
    columns = [column for column in data_files.column_names if column.startswith("partition.")]
    sums = data_files.group_by(columns).aggregate([("size_bytes", "sum"), ("path", "count")])
    older = data_files[:0] if only_small else _with_large_row_groups(catalog, name, data_files)
    old_layout = {tuple(row[column] for column in columns) for row in older.to_pylist()}
    return [
        {column: row[column] for column in columns}
        for row in sums.sort_by([(column, "ascending") for column in columns]).to_pylist()
        if row["path_count"] > 1 + 2 * (row["size_bytes_sum"] // target_bytes)
        or tuple(row[column] for column in columns) in old_layout
    ]


def small_files(data_files: pa.Table, target_bytes: int) -> int:
    """Number of files that compaction would merge with others, from the log alone."""
    columns = [column for column in data_files.column_names if column.startswith("partition.")]
    sums = data_files.group_by(columns).aggregate([("size_bytes", "sum"), ("path", "count")])
    allowed = pc.add(pc.multiply(pc.divide(sums["size_bytes_sum"], target_bytes), 2), 1)
    return pc.sum(sums.filter(pc.greater(sums["path_count"], allowed))["path_count"]).as_py() or 0


def _with_large_row_groups(catalog: Catalog, name: str, data_files: pa.Table) -> pa.Table:
    """Files of which a question about a few metres would read more than it needs."""
    large = data_files.filter(
        pc.fill_null(pc.greater(data_files["num_records"], ROW_GROUP_ROWS), True)
    )
    found = [large.slice(0, 0)]
    for start in range(0, large.num_rows, _AT_ONCE):
        part = large.slice(start, _AT_ONCE)
        with explained(catalog.uri), damage_named(catalog.uri, {name: part}):
            opened = catalog.live.fragments.of(name, part)
        found.append(part.filter([file.rows.max(initial=0) > ROW_GROUP_ROWS for file in opened]))
    return pa.concat_tables(found)


def remove_rows(catalog: Catalog, name: str, well: str, outdated: pa.Table) -> None:
    """Rewrite a well's files without the rows of some tiles.

    Parameters
    ----------
    catalog : Catalog
    name : {"crystals", "tiles"}
    well : str
    outdated : pa.Table
        `tile_id, segmenter, classifier, scanned_at` of the rows to remove.

    Raises
    ------
    CatalogError
        As `merge_small_files`.
    """
    table = catalog.delta_table(name)
    well_files = files(TableSnapshot.of(name, table), [well])
    times = pc.min_max(outdated["scanned_at"])
    # Files with unknown range are opened.
    for column, ends in (("max.scanned_at", times["min"]), ("min.scanned_at", times["max"])):
        compare = pc.greater_equal if column.startswith("max") else pc.less_equal
        inside = compare(well_files[column].cast(outdated["scanned_at"].type), ends)
        well_files = well_files.filter(pc.fill_null(inside, True))
    new: list[DataFile] = []
    old: list[pa.Table] = []
    for index in range(well_files.num_rows):
        one_file = well_files.slice(index, 1)
        with damage_named(catalog.uri, {name: one_file}):
            rows = _dataset(catalog, name, one_file)
            keys = rows.to_table(columns=_KEY)
            if not keys.join(outdated, _KEY, join_type="left semi").num_rows:
                continue
            remaining = rows.to_table().join(outdated, _KEY, join_type="left anti")
        partition = {
            column: one_file[column][0].as_py()
            for column in one_file.column_names
            if column.startswith("partition.")
        }
        if remaining.num_rows:
            remaining = remaining.select(rows.schema.names).cast(rows.schema)
            new.append(_write(catalog, name, remaining, partition, "recover"))
        old.append(one_file)
    if old:
        _replace(catalog, name, table, pa.concat_tables(old), new, data_change=True)


def _replace(
    catalog: Catalog,
    name: str,
    read: DeltaTable,
    old: pa.Table,
    new: Sequence[DataFile],
    *,
    data_change: bool,
) -> None:
    gone = [
        DataFile(
            name,
            unquote(row["path"]),
            row["size_bytes"],
            row["num_records"] or 0,
            _stored_partition(name, row),
            "",
        )
        for row in old.to_pylist()
    ]
    # With data_change=False on removal, two processes could remove one file and double its rows.
    actions: list[AddAction | RemoveAction] = [
        *(part.removed() for part in gone),
        *(part.added(data_change=data_change) for part in new),
    ]
    catalog.change(name, actions, read)


def _stored_partition(name: str, file: dict[str, Any]) -> dict[str, str]:
    """A file's partition in the log, with the well's original spelling."""
    values = {column: in_folder(file[f"partition.{column}"]) for column in PARTITIONS[name]}
    return values | {"well": file["stored_well"]}


def _write(
    catalog: Catalog, name: str, rows: pa.Table, partition: dict[str, Any], label: str
) -> DataFile:
    values = {column: in_folder(partition[f"partition.{column}"]) for column in PARTITIONS[name]}
    rows = rows.drop_columns(list(PARTITIONS[name]))
    return write_part(catalog.uri, name, rows, values, label)


def _depth_ranges(
    catalog: Catalog, name: str, partition_files: pa.Table, target_bytes: int
) -> Iterator[pa.Table]:
    """The rows of a partition in depth ranges of about the target size."""
    rows = _dataset(catalog, name, partition_files)
    count = round(pc.sum(partition_files["size_bytes"]).as_py() / target_bytes)
    if count <= 1:
        yield rows.to_table()
        return
    depths = rows.to_table(columns=["depth_m"])["depth_m"].to_numpy()
    shares = np.linspace(0, 1, count + 1)[1:-1]
    inner = np.unique(np.quantile(depths, shares, method="nearest"))
    for low, high in itertools.pairwise([-np.inf, *inner.tolist(), np.inf]):
        piece = rows.to_table(filter=(pc.field("depth_m") >= low) & (pc.field("depth_m") < high))
        if piece.num_rows:
            yield piece


def _of_partition(data_files: pa.Table, partition: dict[str, Any]) -> pa.Table:
    for column, value in partition.items():
        data_files = data_files.filter(pc.equal(data_files[column], value))
    return data_files


def _dataset(catalog: Catalog, name: str, data_files: pa.Table) -> Any:
    schema = catalog.crystals_schema if name == "crystals" else TILES
    return dataset(f"{catalog.uri}/{name}", schema, data_files)
