"""Data files whose footers have been read and checked, kept for the next question."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
from numpy.typing import NDArray

from mcn.catalog.active_files import PARQUET
from mcn.catalog.integrity.damage import check_footers

_MOST_BYTES: Final = 32 * 2**20
"""Footers that are kept, as they are stored; in memory they take several times as much."""

_READERS: Final = 16


@cache
def readers() -> ThreadPoolExecutor:
    """Threads that wait for the storage."""
    return ThreadPoolExecutor(_READERS, thread_name_prefix="catalog-reader")


@dataclass(frozen=True, eq=False)
class OpenFile:
    """A data file whose footer has been read and checked.

    Parameters
    ----------
    fragment : ParquetFileFragment
    partition : mapping
        Columns of the partition and their values, which the file does not contain.
    is_remote : bool
        Whether each read is a request to an object store.
    low, high : (N,) float array
        Lowest and highest depth of each row group, in metres; infinite if unknown.
    rows : (N,) int array
        Number of rows of each row group.
    """

    fragment: pads.ParquetFileFragment
    partition: Mapping[str, Any]
    is_remote: bool
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    rows: NDArray[np.int64]

    @cached_property
    def _remote(self) -> pa.NativeFile:
        return self.fragment.open()

    def source(self) -> pa.NativeFile:
        """The file, to be read from any thread.

        One in an object store stays open, as each opening is a request for its size.
        """
        return self._remote if self.is_remote else self.fragment.open()

    @classmethod
    def of(
        cls, fragment: pads.ParquetFileFragment, partition: Mapping[str, Any], *, is_remote: bool
    ) -> OpenFile:
        """Collect what the footer says."""
        footer = fragment.metadata
        names = footer.schema.names
        column = names.index("depth_m") if "depth_m" in names else None
        ranges = []
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            known = None if column is None else group.column(column).statistics
            low, high = (known.min, known.max) if known and known.has_min_max else (-np.inf, np.inf)
            ranges.append((low, high, group.num_rows))
        low, high, rows = np.array(ranges, dtype=np.float64).reshape(-1, 3).T
        return cls(fragment, partition, is_remote, low, high, rows.astype(np.int64))


class Fragments:
    """The data files of a catalogue that were used last, with their footers.

    Parameters
    ----------
    file_system : pyarrow.fs.FileSystem
    root : str
        Path of the catalogue in it.
    """

    def __init__(self, file_system: pafs.FileSystem, root: str) -> None:
        self._file_system, self._root = file_system, root
        self._kept: OrderedDict[str, OpenFile] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def of(self, name: str, selected_files: pa.Table) -> list[OpenFile]:
        """The data files, in the same order.

        Parameters
        ----------
        name : {"crystals", "tiles"}
        selected_files : pa.Table
            As `mcn.catalog.active_files.files` gives them.

        Raises
        ------
        OSError
            For a file whose footer is damaged or cannot be read.
        """
        partitions = [n for n in selected_files.column_names if n.startswith("partition.")]
        columns = [selected_files[n].to_pylist() for n in ("path", "size_bytes", *partitions)]
        wanted = {f"{name}/{unquote(path)}": facts for path, *facts in zip(*columns, strict=True)}
        with self._lock:
            kept = {key: self._kept[key] for key in wanted if key in self._kept}
            for key in kept:
                self._kept.move_to_end(key)
        missing = [key for key in wanted if key not in kept]
        fragments = [
            PARQUET.make_fragment(
                f"{self._root}/{key}", self._file_system, file_size=wanted[key][0]
            )
            for key in missing
        ]
        check_footers(fragments)
        keys = [partition.removeprefix("partition.") for partition in partitions]
        new = {
            key: OpenFile.of(
                fragment,
                dict(zip(keys, wanted[key][1:], strict=True)),
                is_remote=not isinstance(self._file_system, pafs.LocalFileSystem),
            )
            for key, fragment in zip(missing, fragments, strict=True)
        }
        self._keep(new)
        every = kept | new
        return [every[key] for key in wanted]

    def _keep(self, new: dict[str, OpenFile]) -> None:
        with self._lock:
            for key, file in new.items():
                if key not in self._kept:
                    self._kept[key] = file
                    self._bytes += file.fragment.metadata.serialized_size
            while self._bytes > _MOST_BYTES:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.fragment.metadata.serialized_size
