"""The two definitions of the latest models of a tile, in SQL and on Arrow tables, are one."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from mcn.catalog.model_names import LATEST, ModelPair
from mcn.catalog.reading.latest import (
    ALL_TILES,
    CRYSTALS,
    LATEST_TILES,
    TILE_KEY,
    all_tiles,
    crystals_of,
    latest_tiles,
)

_TIME = pa.timestamp("us", tz="UTC")


def random_rows(rng: np.random.Generator, count: int, wells: int) -> pa.Table:
    """Rows of few tiles, models and times, so that all of them meet."""
    keys = pa.table(
        {
            "well": [f"W{n}" for n in rng.integers(wells, size=count)],
            "tile_id": [f"t{n}" for n in rng.integers(6, size=count)],
            "segmenter": [("a@1", "b@2", "é@3")[n] for n in rng.integers(3, size=count)],
            "classifier": [("x", "y")[n] for n in rng.integers(2, size=count)],
            "scanned_at": pa.array(rng.integers(4, size=count), _TIME),
        }
    )
    # Two rows of one tile, models and time would be alike in all columns.
    return keys.group_by(keys.column_names).aggregate([])


def in_duckdb(text: str, **tables: pa.Table) -> pa.Table:
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return connection.sql(text).to_arrow_table()


def same(left: pa.Table, right: pa.Table) -> bool:
    order = [(name, "ascending") for name in left.column_names]
    return left.sort_by(order).equals(
        right.select(left.column_names).sort_by(order).cast(left.schema)
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "models", [LATEST, ModelPair("a@1"), ModelPair(None, "y"), ModelPair("é@3", "x")]
)
def test_sql_and_arrow_choose_the_same_rows(seed: int, models: ModelPair) -> None:
    rng = np.random.default_rng(seed)
    tiles = random_rows(rng, int(rng.integers(0, 60)), 3)
    chosen = LATEST_TILES.format(chosen=models.condition())
    assert same(latest_tiles(tiles, models), in_duckdb(chosen, tile_rows=tiles))
    assert same(all_tiles(tiles), in_duckdb(ALL_TILES, tile_rows=tiles))

    # One well, as the functions are used.
    tiles = random_rows(rng, 30, 1)
    crystals = random_rows(rng, 80, 1)
    for kept in (latest_tiles(tiles, models), all_tiles(tiles)):
        expected = in_duckdb(CRYSTALS.format(tiles="kept"), crystal_rows=crystals, kept=kept)
        assert same(crystals_of(crystals, kept), expected)


def test_crystals_keep_their_order_and_columns() -> None:
    tiles = random_rows(np.random.default_rng(1), 40, 1)
    kept = latest_tiles(tiles)
    crystals = pa.concat_tables([kept, kept.slice(0, 2)]).append_column(
        "n", pa.array(range(kept.num_rows + 2))
    )
    assert crystals_of(crystals, kept).equals(crystals)
    assert crystals_of(crystals, kept.slice(0, 0)).num_rows == 0
    assert set(TILE_KEY) < set(crystals.column_names)
