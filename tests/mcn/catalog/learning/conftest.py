"""A catalogue whose crystals persons correct."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from mcn.catalog.corrected.rows import MODEL_KEY, commit_corrections, corrections_schema
from mcn.catalog.correcting.changes import Change, Changed, correct
from mcn.catalog.query import query
from mcn.catalog.store import Catalog
from mcn.taxonomy import SHAPES

from ..conftest import Commit, MakeCrystal, MakeTile, at

_ORIGIN = ("tile_id", "well", "depth_m", "segmenter", "classifier", "scanned_at")


@dataclass(frozen=True)
class Rock:
    """Well A has ten tiles of four rhombic crystals each, 10 pixels apart, from 1200 m down."""

    catalog: Catalog

    def change(self, tile: int, operation: Any, *numbers: int, **facts: Any) -> Changed:
        """Correct crystals of a tile, named by their numbers from left to right."""
        depth = 1200.0 + 10 * tile
        rows = query(self.catalog, ["A"], (depth, depth)).to_pylist()
        rows.sort(key=lambda row: row["bbox_x"])
        ids = [rows[number]["crystal_id"] for number in numbers]
        return correct(
            self.catalog, Change(operation, rows[0]["tile_id"], "A", ids, **facts), "lab"
        )

    def write(self, action: str, tiles: int, *numbers: int, **facts: Any) -> None:
        """Write the same corrections of the first tiles at once, as if persons had made them."""
        models = query(self.catalog, ["A"]).to_pylist()
        rows = []
        for tile in range(tiles):
            of_tile = [row for row in models if row["depth_m"] == 1200.0 + 10 * tile]
            of_tile.sort(key=lambda row: row["bbox_x"])
            for number in numbers:
                key = {name: of_tile[number][column] for name, column in MODEL_KEY.items()}
                key = {} if action == "add" else key
                origin = {name: of_tile[number][name] for name in _ORIGIN}
                crystal_id = f"{of_tile[0]['tile_id']}-added-{number}" if action == "add" else None
                rows.append(
                    {
                        "correction_id": uuid.uuid4().hex,
                        "change_id": uuid.uuid4().hex,
                        "operation": action,
                        "action": action,
                        "corrected_by": "lab",
                        "corrected_at": datetime.now(UTC),
                        "crystal_id": crystal_id or of_tile[number]["crystal_id"],
                        **origin,
                        **key,
                        **facts,
                    }
                )
        schema = corrections_schema(self.catalog.shapes)
        commit_corrections(self.catalog.uri, pa.Table.from_pylist(rows, schema=schema))


def crystals(make_crystal: MakeCrystal, shape: str = "rhombic") -> list[Any]:
    """Four crystals of a shape, of which the classifier is rather sure."""
    p = {f"p_{name}": 0.7 if name == shape else 0.1 for name in SHAPES}
    return [at(make_crystal, 10 * k, 3, shape, **p) for k in range(4)]


@pytest.fixture
def rock(catalog: Catalog, make_tile: MakeTile, make_crystal: MakeCrystal, commit: Commit) -> Rock:
    tiles = [make_tile(f"a{n}", "A", 1200.0 + 10 * n) for n in range(10)]
    commit(catalog, *((tile, crystals(make_crystal)) for tile in tiles))
    return Rock(catalog)
