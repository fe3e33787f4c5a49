"""The head of a scan's stream: a list of tiles handed to the reading stage piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import ray
from ray import ObjectRef
from ray.data import DataContext, Datasource, ReadTask
from ray.data.block import BlockMetadata

from pipelines.rows import READ
from pipelines.stages import ReadTiles


class ListedTiles(Datasource):
    """Tiles of a list, read.

    The list lies in Ray's object store, which spills to disk, and not in the driver.

    Parameters
    ----------
    batches : sequence of (ObjectRef of Table, int)
        Tiles to read, of schema `mcn.source.LISTED`, and how many there are.
    read : ReadTiles
        What reads them.
    size : int
        Tiles a task at most.
    """

    def __init__(
        self, batches: Sequence[tuple[ObjectRef[Any], int]], read: ReadTiles, size: int
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pieces = [
            (batch, start, min(size, rows - start))
            for batch, rows in batches
            for start in range(0, rows, size)
        ]
        self._read = read

    def __len__(self) -> int:
        """Number of read tasks."""
        return len(self._pieces)

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """The read tasks, however many Ray asks for."""
        del parallelism, data_context
        return [
            ReadTask(
                partial(_read_piece, self._read, batch, start, length),
                BlockMetadata(length, size_bytes=None, exec_stats=None),
                READ,
                per_task_row_limit,
            )
            for batch, start, length in self._pieces
        ]

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown before the pixels are decoded."""
        return None


def _read_piece(
    read: ReadTiles, batch: ObjectRef[Any], start: int, length: int
) -> Iterator[pa.Table]:
    yield from read(ray.get(batch).slice(start, length))
