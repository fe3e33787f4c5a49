"""The data files of one snapshot of a table, as an Arrow dataset with partition pruning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from deltalake import DeltaTable

from mcn.catalog.integrity.damage import check_footers
from mcn.catalog.storage import data_files
from mcn.catalog.wells import plain_well

Depths = tuple[float | None, float | None]
"""Lowest and highest measured depth in metres, both included; None is open."""


def files(table: DeltaTable, wells: Sequence[str] = (), depth: Depths | None = None) -> pa.Table:
    """The snapshot's data files that may hold rows of these wells and depths.

    Returns
    -------
    pa.Table
        One row per file, from the log alone: `path`, `size_bytes`, `num_records`,
        `partition.well`, `min.depth_m`, `max.depth_m` and more. Wells are normalised by
        `mcn.catalog.wells`; `stored_well` is the spelling in the log.
    """
    selected = pa.table(table.get_add_actions(flatten=True))
    stored_wells = selected["partition.well"].combine_chunks().dictionary_encode()
    plain_wells = pa.array(map(plain_well, stored_wells.dictionary.to_pylist()), pa.string())
    selected = selected.append_column("stored_well", selected["partition.well"])
    column = selected.schema.get_field_index("partition.well")
    selected = selected.set_column(column, "partition.well", plain_wells.take(stored_wells.indices))
    if wells:
        wanted_wells = pa.array(map(plain_well, wells), pa.string())
        selected = selected.filter(pc.is_in(selected["partition.well"], wanted_wells))
    low, high = depth or (None, None)
    if low is not None and selected.num_rows:
        selected = selected.filter(
            pc.fill_null(pc.greater_equal(selected["max.depth_m"], low), True)
        )
    if high is not None and selected.num_rows:
        selected = selected.filter(pc.fill_null(pc.less_equal(selected["min.depth_m"], high), True))
    return selected


class _CheckedDataset(pads.FileSystemDataset):  # type: ignore[misc] # pyarrow carries no types
    """A dataset that compares the footers of the files that a scan reads with their names.

    Pages have checksums that Arrow compares by itself, footers have none: a changed column name or
    row count there would be read as nulls or fewer rows.
    """

    def scanner(self, **options: Any) -> pads.Scanner:
        """As Arrow's; DuckDB calls it as well."""
        check_footers(self.get_fragments(filter=options.get("filter")))
        return super().scanner(**options)


def dataset(uri: str, schema: pa.Schema, selected_files: pa.Table) -> pads.FileSystemDataset:
    """Data files as a dataset that includes the partition columns.

    Arrow's own file systems are used, because those that call back into Python abort the process
    if a read-ahead thread outlives the interpreter.

    Parameters
    ----------
    uri : str
        The table's folder.
    schema : pa.Schema
        `crystals_schema` or `TILES`.
    selected_files : pa.Table
        Files to read, as `files` gives them.
    """
    file_system, root = data_files(uri)
    # DuckDB and Arrow scan with these options; files without checksums are read as before.
    checked = pads.ParquetFragmentScanOptions(page_checksum_verification=True)
    parquet = pads.ParquetFileFormat(default_fragment_scan_options=checked)
    partitions = [name for name in selected_files.column_names if name.startswith("partition.")]
    guarantees = _guarantees(selected_files, partitions) if selected_files.num_rows else {}
    columns = [selected_files[name].to_pylist() for name in ("path", *partitions)]
    fragments = [
        parquet.make_fragment(f"{root}/{unquote(path)}", file_system, guarantees[tuple(values)])
        for path, *values in zip(*columns, strict=True)
    ]
    return _CheckedDataset(fragments, schema, parquet, file_system)


def _guarantees(
    selected_files: pa.Table, partitions: Sequence[str]
) -> dict[tuple[str | float, ...], pc.Expression]:
    """Conditions that hold for all rows of a partition, so Arrow can skip its files."""
    # A range that the log does not know makes that of its partition unknown.
    unknown_stays = pc.ScalarAggregateOptions(skip_nulls=False)
    ranges = selected_files.group_by(partitions).aggregate(
        [("min.depth_m", "min", unknown_stays), ("max.depth_m", "max", unknown_stays)]
    )
    guarantees = {}
    for row in ranges.to_pylist():
        values = tuple(row[name] for name in partitions)
        guarantee = pc.scalar(True)
        if (low := row["min.depth_m_min"]) is not None:
            guarantee &= pc.field("depth_m") >= low
        if (high := row["max.depth_m_max"]) is not None:
            guarantee &= pc.field("depth_m") <= high
        for name, value in zip(partitions, values, strict=True):
            guarantee &= pc.field(name.removeprefix("partition.")) == value
        guarantees[values] = guarantee
    return guarantees
