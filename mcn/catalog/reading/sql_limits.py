"""Running SQL within limits of time and memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from mcn.catalog.storage import CatalogQueryError

if TYPE_CHECKING:
    import duckdb

_BATCH_ROWS: Final = 100_000
_LONGEST_S: Final = 7 * 24 * 3600.0


@dataclass(frozen=True)
class SqlLimits:
    """What one SQL query may use.

    Parameters
    ----------
    seconds : float
        Longest time.
    memory_mb : int
        Most memory of the query in MiB, and the most that its result may take.

    Raises
    ------
    CatalogQueryError
        If a limit is not above 0, or the time is longer than a week.
    """

    seconds: float = 60.0
    memory_mb: int = 2048

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= _LONGEST_S or not self.memory_mb > 0:
            raise CatalogQueryError(
                f"limits of {self.seconds:g} s and {self.memory_mb} MiB are impossible; give "
                f"numbers above 0, and up to {_LONGEST_S:g} s"
            )


def run_within(connection: duckdb.DuckDBPyConnection, text: str, limits: SqlLimits) -> pa.Table:
    """The result of one query.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        Its database has the limit of memory already.
    text : str
    limits : SqlLimits

    Raises
    ------
    CatalogQueryError
        If the query takes too long or needs too much memory.
    duckdb.Error
        For any other reason.
    """
    import duckdb

    over = threading.Event()

    def stop() -> None:
        over.set()
        connection.interrupt()

    timer = threading.Timer(limits.seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        reader = connection.sql(text).to_arrow_reader(_BATCH_ROWS)
        batches, size = [], 0
        for batch in reader:
            batches.append(batch)
            size += batch.nbytes
            if size > limits.memory_mb * 2**20:
                raise CatalogQueryError(
                    f"SQL: the result is larger than {limits.memory_mb} MiB; select fewer rows or "
                    "columns, or allow more memory"
                )
            if over.is_set():  # It may have ended between two batches.
                raise _too_long(limits)
        return pa.Table.from_batches(batches, reader.schema)
    except duckdb.OutOfMemoryException:
        raise CatalogQueryError(
            f"SQL: it needs more than {limits.memory_mb} MiB of memory; narrow it by well or "
            "depth, or allow more memory"
        ) from None
    except (duckdb.Error, pa.ArrowException, OSError):
        if over.is_set():
            raise _too_long(limits) from None
        raise
    finally:
        timer.cancel()


def _too_long(limits: SqlLimits) -> CatalogQueryError:
    return CatalogQueryError(
        f"SQL: it takes longer than {limits.seconds:g} s; narrow it by well or depth, or allow "
        "more time"
    )
