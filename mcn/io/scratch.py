"""A database on disk for work on lists that may be longer than memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import duckdb

MEMORY_MIB: Final = 768
"""What the database keeps in memory; the rest goes to the disk."""


@contextmanager
def scratch_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty DuckDB database in a temporary folder, which goes with it."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="mcn-") as folder:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{MEMORY_MIB}MiB",
            "temp_directory": f"{folder}/spill",
            "preserve_insertion_order": False,
        }
        with duckdb.connect(f"{folder}/scratch.duckdb", config=settings) as database:
            yield database
