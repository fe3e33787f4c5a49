"""Tiles that were written together: their data files and their counts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.data_files import DataFile
from mcn.catalog.schema import FAILED, OK


@dataclass(frozen=True)
class Count:
    """Number of tiles, by status, and of crystals."""

    ok: int = 0
    failed: int = 0
    crystals: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.ok + other.ok, self.failed + other.failed, self.crystals + other.crystals)

    @property
    def tiles(self) -> int:
        """All tiles, ok and failed."""
        return self.ok + self.failed


@dataclass(frozen=True)
class WrittenBatch:
    """Tiles that one call of the stage `write` wrote.

    Parameters
    ----------
    parts : tuple of DataFile
        Data files to commit together.
    wells : mapping of str to Count
        Tiles and crystals of each well.
    shapes : mapping of str to int
        Crystals of each shape.
    first_error : str or None
        Why the first failed tile failed.
    """

    parts: tuple[DataFile, ...]
    wells: Mapping[str, Count]
    shapes: Mapping[str, int]
    first_error: str | None = None

    @property
    def count(self) -> Count:
        """Tiles and crystals of all wells."""
        return sum(self.wells.values(), Count())

    @classmethod
    def of(cls, parts: Sequence[DataFile], tiles: pa.Table, crystals: pa.Table) -> WrittenBatch:
        """Count the rows of `tiles` and `crystals` that were written to data files."""
        counts = tiles.group_by(["well", "status"]).aggregate(
            [("tile_id", "count"), ("n_crystals", "sum")]
        )
        by_well: dict[str, Count] = {}
        for row in counts.to_pylist():
            ok = row["tile_id_count"] if row["status"] == OK else 0
            count = Count(ok, row["tile_id_count"] - ok, row["n_crystals_sum"])
            by_well[row["well"]] = by_well.get(row["well"], Count()) + count
        shapes = crystals.group_by("shape").aggregate([([], "count_all")]).to_pylist()
        errors = tiles["error"].filter(pc.equal(tiles["status"], FAILED))
        return cls(
            tuple(parts),
            by_well,
            {row["shape"]: row["count_all"] for row in shapes},
            errors[0].as_py() if len(errors) else None,
        )

    def as_table(self) -> pa.Table:
        """One row that passes between processes."""
        return pa.table({"batch": [json.dumps(asdict(self))]})

    @classmethod
    def all_in(cls, table: pa.Table) -> list[WrittenBatch]:
        """Batches in the rows of a table, as `as_table` writes them."""
        return [cls._read(text) for text in table["batch"].to_pylist()]

    @classmethod
    def _read(cls, text: str) -> WrittenBatch:
        fields = json.loads(text)
        return cls(
            parts=tuple(DataFile(**part) for part in fields["parts"]),
            wells={well: Count(**count) for well, count in fields["wells"].items()},
            shapes=fields["shapes"],
            first_error=fields["first_error"],
        )
