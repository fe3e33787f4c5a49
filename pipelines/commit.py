"""The end of a scan's stream: rows gathered into small commits while the scan runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

import pyarrow as pa

from mcn.catalog.schema import TILES
from mcn.catalog.store import Catalog


@dataclass
class Committer:
    """Gathers classified tiles and commits them by number or by time, whichever is first.

    Parameters
    ----------
    catalog : Catalog
    tiles, seconds : int, float
        Commit when so many tiles wait, or when the last commit is so long ago.
    """

    catalog: Catalog
    tiles: int
    seconds: float
    _waiting: list[pa.Table] = field(default_factory=list)
    _since: float = field(default_factory=monotonic)

    def add(self, rows: pa.Table) -> None:
        """Take a table of `pipelines.rows.classified`, and commit if it is time."""
        self._waiting.append(rows)
        due = monotonic() - self._since >= self.seconds
        if due or sum(table.num_rows for table in self._waiting) >= self.tiles:
            self.flush()

    def flush(self) -> None:
        """Commit what waits."""
        if self._waiting:
            rows = pa.concat_tables(self._waiting)
            self.catalog.commit(_crystals(rows), rows.select(TILES.names))
            self._waiting.clear()
        self._since = monotonic()


def _crystals(rows: pa.Table) -> pa.Table:
    structs = rows["crystals"].combine_chunks().flatten()
    return pa.Table.from_struct_array(structs)
