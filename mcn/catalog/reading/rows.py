"""Rows of data files: only the columns and row groups that a question needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mcn.catalog.active_files import Depths
from mcn.catalog.data_files import ROW_GROUP_ROWS
from mcn.catalog.reading.fragments import OpenFile, readers

_LEAST_ROWS: Final = 8 * ROW_GROUP_ROWS
"""Rows of the smallest piece: the row group at its end is read again for the next one."""


@dataclass(frozen=True)
class Where:
    """Which rows are wanted; empty fields do not restrict.

    Parameters
    ----------
    depth : (float or None, float or None)
        Measured depths in metres, both ends included.
    before : float or None
        Only above this depth.
    shapes : sequence of str
    min_confidence : float or None
    after : (float, str) or None
        Only after this depth and `crystal_id`.
    """

    depth: Depths = (None, None)
    before: float | None = None
    shapes: Sequence[str] = ()
    min_confidence: float | None = None
    after: tuple[float, str] | None = None

    def row_groups(self, file: OpenFile) -> NDArray[np.bool_]:
        """Which row groups of a file may hold such rows."""
        low, high = self.depth
        wanted = np.ones(len(file.rows), dtype=bool)
        if low is not None:
            wanted &= file.high >= low
        if high is not None:
            wanted &= file.low <= high
        if self.before is not None:
            wanted &= file.low < self.before
        return wanted

    @property
    def columns(self) -> Sequence[str]:
        """The columns that `of` needs."""
        needs = {
            "depth_m": self.depth != (None, None) or self.before is not None,
            "shape": bool(self.shapes),
            "confidence": self.min_confidence is not None,
        }
        names = [name for name, needed in needs.items() if needed]
        return names if self.after is None else [*names, "depth_m", "crystal_id"]

    def of(self, rows: pa.Table) -> pa.Table:
        """The wanted ones of some rows."""
        # With an expression, Arrow would start threads for each of these small tables.
        low, high = self.depth
        masks = []
        if low is not None:
            masks.append(pc.greater_equal(rows["depth_m"], low))
        if high is not None:
            masks.append(pc.less_equal(rows["depth_m"], high))
        if self.before is not None:
            masks.append(pc.less(rows["depth_m"], self.before))
        if self.shapes:
            masks.append(pc.is_in(rows["shape"], pa.array(self.shapes)))
        if self.min_confidence is not None:
            masks.append(pc.greater_equal(rows["confidence"], self.min_confidence))
        if self.after is not None:
            depth, crystal = self.after
            later = pc.and_(
                pc.equal(rows["depth_m"], depth), pc.greater(rows["crystal_id"], crystal)
            )
            masks.append(pc.or_(pc.greater(rows["depth_m"], depth), later))
        return rows.filter(reduce(pc.and_, masks)) if masks else rows


def read_rows(
    open_files: Sequence[OpenFile],
    schema: pa.Schema,
    columns: Sequence[str],
    where: Where = Where(),
) -> pa.Table:
    """Columns of the wanted rows.

    Parameters
    ----------
    open_files : sequence of OpenFile
        Files of one table, from `Fragments.of`.
    schema : pa.Schema
        All columns of the table, those of the partitions included.
    columns : sequence of str
        Columns to read.
    where : Where
        Row groups whose depths exclude it are not read.

    Returns
    -------
    pa.Table
        In the order of the files. Columns that a file does not have are null.

    Raises
    ------
    OSError or ValueError
        If a page is damaged, or a column has nulls that cannot have any.
    """
    wanted = pa.schema([schema.field(name) for name in columns])
    read = partial(_read, schema, wanted, where)
    # A single file is read at once; the threads are for waiting for several.
    tables = readers().map(read, open_files) if len(open_files) > 1 else map(read, open_files)
    if len(open_files) == 1:
        return next(iter(tables))
    return pa.concat_tables([wanted.empty_table(), *tables])


def _read(schema: pa.Schema, wanted: pa.Schema, where: Where, file: OpenFile) -> pa.Table:
    """Read in this thread: Arrow's scanner takes longer to start its own than to read."""
    groups = np.flatnonzero(where.row_groups(file))
    if not len(groups):
        return wanted.empty_table()
    names = dict.fromkeys([*wanted.names, *where.columns])
    stored = {*file.fragment.physical_schema.names}
    rows = pq.ParquetFile(
        file.source(),
        metadata=file.fragment.metadata,
        page_checksum_verification=True,
        pre_buffer=file.is_remote,  # One request for neighbouring columns.
    ).read_row_groups(
        groups.tolist(), [name for name in names if name in stored], use_threads=False
    )
    count = int(file.rows[groups].sum())
    every = pa.table(
        {
            name: rows[name]
            if name in stored
            else _constant(file.partition.get(name), schema.field(name).type, count)
            for name in names
        }
    )
    return where.of(every).select(wanted.names).cast(wanted)


def _constant(value: Any, kind: pa.DataType, count: int) -> pa.Array:
    return pa.nulls(count, kind) if value is None else pa.repeat(pa.scalar(value, kind), count)


def depth_pieces(
    open_files: Sequence[OpenFile], where: Where, targets: Iterator[int]
) -> Iterator[tuple[float | None, float | None]]:
    """Cut the rows of a well into depth ranges, in order, that can be read and sorted one by one.

    Parameters
    ----------
    open_files : sequence of OpenFile
        Files of one well.
    where : Where
        The rows that are wanted.
    targets : iterator of int
        The number of rows that each piece should have at least. A piece has more if the depth
        ranges of the row groups overlap: cutting them would read them again for each piece.

    Yields
    ------
    (float or None, float or None)
        Lowest depth of a piece, and the depth before which it ends.
    """
    if not open_files:
        return
    low, high, rows = (
        np.concatenate([getattr(file, name)[where.row_groups(file)] for file in open_files])
        for name in ("low", "high", "rows")
    )
    order = np.argsort(low, kind="stable")
    low, high, rows = low[order], high[order], rows[order]
    if not len(low):
        return
    first, start, target = 0, where.depth[0], max(next(targets), _LEAST_ROWS)
    rows_before = np.concatenate([[0], rows.cumsum()])
    for index in range(1, len(low)):
        if low[index] == low[first] or rows_before[index] - rows_before[first] < target:
            continue
        read_again = high[:index] >= low[index]
        if 2 * rows[:index][read_again].sum() > target:
            continue
        cut = float(low[index])
        yield start, cut
        first, start, target = index, cut, max(next(targets), _LEAST_ROWS)
    yield start, None
