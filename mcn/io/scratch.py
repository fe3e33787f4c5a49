"""A temporary database on disk, for lists that may be larger than memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import duckdb

MEMORY_MIB: Final = 768
"""Memory limit of the database; the rest is on disk."""


@contextmanager
def scratch_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty DuckDB database in a temporary folder, deleted at the end."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="mcn-") as folder:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{MEMORY_MIB}MiB",
            "temp_directory": f"{folder}/spill",
            "preserve_insertion_order": False,
        }
        with duckdb.connect(f"{folder}/scratch.duckdb", config=settings) as database:
            yield database
