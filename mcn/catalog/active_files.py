"""The data files of one snapshot of a table, as an Arrow dataset with partition pruning."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from deltalake import DeltaTable

from mcn.catalog.data_files import PARTITIONS, STATISTICS
from mcn.catalog.integrity.damage import check_footers
from mcn.catalog.storage import data_files
from mcn.catalog.wells import plain_well

Depths = tuple[float | None, float | None]
"""Lowest and highest measured depth in metres, both included; None is open."""

# DuckDB and Arrow scan with these options; files without checksums are read as before.
_CHECKED: Final = pads.ParquetFragmentScanOptions(page_checksum_verification=True)
PARQUET: Final = pads.ParquetFileFormat(default_fragment_scan_options=_CHECKED)
"""The data files' format, with the checksums of pages compared."""


@dataclass(frozen=True, eq=False)
class TableSnapshot:
    """The data files of one version of a table, by well; nothing changes it.

    Parameters
    ----------
    name : {"crystals", "tiles"}
    version : int
        The table's version in the log.
    by_well : mapping of str to pa.Table
        For each well in order of its name, its files in order of depth, with the columns of
        `file_schema`.
    """

    name: str
    version: int
    by_well: Mapping[str, pa.Table]

    @classmethod
    def of(cls, name: str, table: DeltaTable) -> TableSnapshot:
        """The files of a table as `deltalake` has loaded it."""
        actions = pa.table(table.get_add_actions(flatten=True))
        schema = file_schema(name)
        stored_wells = actions["partition.well"].combine_chunks().dictionary_encode()
        plain_wells = pa.array(map(plain_well, stored_wells.dictionary.to_pylist()), pa.string())
        columns = dict(zip(actions.column_names, actions.columns, strict=True))
        columns["stored_well"] = actions["partition.well"]
        columns["partition.well"] = plain_wells.take(stored_wells.indices)
        # The log of an empty table, or of files without statistics, has fewer columns.
        listed = pa.table(
            {
                field.name: columns.get(field.name, pa.nulls(actions.num_rows, field.type))
                for field in schema
            }
        ).cast(schema)
        return cls(name, table.version(), dict(_split_by_well(listed)))

    def changed(
        self, version: int, added: pa.Table, removed: Mapping[str, Collection[str]]
    ) -> TableSnapshot:
        """A later version, in which some files were added and removed.

        Parameters
        ----------
        version : int
        added : pa.Table of schema `file_schema(name)`
        removed : mapping of str to collection of str
            Paths as the log writes them, by well.
        """
        by_well = dict(self.by_well)
        new_files = dict(_split_by_well(added))
        for well in {*new_files, *removed}:
            kept = by_well.pop(well, added.slice(0, 0))
            gone = [*removed.get(well, ())]
            if well in new_files:  # Adding a file again changes nothing.
                gone += new_files[well]["path"].to_pylist()
            kept = kept.filter(pc.invert(pc.is_in(kept["path"], pa.array(gone, pa.string()))))
            for _, together in _split_by_well(
                pa.concat_tables([kept, new_files.get(well, kept[:0])])
            ):
                by_well[well] = together
        return TableSnapshot(self.name, version, dict(sorted(by_well.items())))

    @cached_property
    def all_files(self) -> pa.Table:
        """The files of all wells, by well and depth."""
        tables = [file_schema(self.name).empty_table(), *self.by_well.values()]
        return pa.concat_tables(tables).combine_chunks()


@dataclass(frozen=True)
class Snapshot:
    """Both tables at one moment. Tile rows have their crystals; crystals may lack a tile row."""

    tiles: TableSnapshot
    crystals: TableSnapshot


@cache
def file_schema(name: str) -> pa.Schema:
    """Columns of a table's list of files, one row per file, from the log alone.

    Wells are normalised by `mcn.catalog.wells`; `stored_well` is the spelling in the log.
    """
    ranges = STATISTICS[name].items()
    return pa.schema(
        [
            pa.field("path", pa.string()),
            pa.field("size_bytes", pa.int64()),
            pa.field("modification_time", pa.int64()),
            pa.field("num_records", pa.int64()),
            *(pa.field(f"null_count.{column}", pa.int64()) for column, _ in ranges),
            *(pa.field(f"min.{column}", kind) for column, kind in ranges),
            *(pa.field(f"max.{column}", kind) for column, kind in ranges),
            *(
                pa.field(f"partition.{column}", pa.string() if column == "well" else pa.float64())
                for column in PARTITIONS[name]
            ),
            pa.field("stored_well", pa.string()),
        ]
    )


def _split_by_well(listed: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Each well with its files in order of depth; wells in order of their names."""
    if not listed.num_rows:
        return
    keys = ("partition.well", "min.depth_m", "max.depth_m", "path")
    listed = listed.sort_by([(key, "ascending") for key in keys]).combine_chunks()
    wells = pc.run_end_encode(listed["partition.well"].combine_chunks())
    start = 0
    for well, end in zip(wells.values.to_pylist(), wells.run_ends.to_pylist(), strict=True):
        yield well, listed.slice(start, end - start)
        start = end


def files(table: TableSnapshot, wells: Sequence[str] = (), depth: Depths | None = None) -> pa.Table:
    """The snapshot's data files that may hold rows of these wells and depths.

    Returns
    -------
    pa.Table of schema `file_schema(table.name)`
        In order of well and depth.
    """
    if wells:
        names = sorted({plain_well(well) for well in wells} & table.by_well.keys())
        tables = [table.by_well[name] for name in names]
        empty = file_schema(table.name).empty_table()
        selected = tables[0] if len(tables) == 1 else pa.concat_tables([empty, *tables])
    else:
        selected = table.all_files
    low, high = depth or (None, None)
    # Files of unknown range may hold such rows.
    if low is not None:
        inside = pc.greater_equal(selected["max.depth_m"], low)
        selected = selected.filter(pc.fill_null(inside, True))
    if high is not None:
        inside = pc.less_equal(selected["min.depth_m"], high)
        selected = selected.filter(pc.fill_null(inside, True))
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
    partitions = [name for name in selected_files.column_names if name.startswith("partition.")]
    guarantees = _guarantees(selected_files, partitions) if selected_files.num_rows else {}
    columns = [selected_files[name].to_pylist() for name in ("path", "size_bytes", *partitions)]
    # With the size from the log, an object store is not asked for it.
    fragments = [
        PARQUET.make_fragment(
            f"{root}/{unquote(path)}", file_system, guarantees[tuple(values)], file_size=size
        )
        for path, size, *values in zip(*columns, strict=True)
    ]
    return _CheckedDataset(fragments, schema, PARQUET, file_system)


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
