"""The latest models of each tile: the single definition, in SQL and on Arrow tables.

The latest row of a tile is the one that was scanned last, and its crystals are those committed with
it. If the last scan of a tile failed, the tile has no crystals, whatever older models detected. If
a segmenter or classifier is named, only its rows count.

SQL views need the definition in SQL. Questions about single wells use the functions: DuckDB takes
10 ms for the window over a hundred rows. A test compares the two on random tables.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.model_names import LATEST, ModelPair

# Windows are partitioned by well, so that a condition on `well` selects the files to read.
LATEST_TILES: Final = """
    SELECT * FROM tile_rows WHERE {chosen}
    QUALIFY row_number() OVER (
        PARTITION BY well, tile_id ORDER BY scanned_at DESC, segmenter, classifier
    ) = 1
"""
ALL_TILES: Final = """
    SELECT * FROM tile_rows
    QUALIFY row_number() OVER (
        PARTITION BY well, tile_id, segmenter, classifier ORDER BY scanned_at DESC
    ) = 1
"""
CRYSTALS: Final = """
    SELECT crystal_rows.* FROM crystal_rows
    JOIN {tiles} USING (well, tile_id, segmenter, classifier, scanned_at)
"""
"""Each crystal has one row of `tiles`. DuckDB applies `well = '…'` to the files of both sides of an
inner join, and to one side of a semi join."""

TILE_KEY: Final = ("tile_id", "segmenter", "classifier", "scanned_at")
"""Columns that crystals share with the row of their tile."""


def latest_tiles(tile_rows: pa.Table, models: ModelPair = LATEST) -> pa.Table:
    """The rows of the latest models of each tile, or of the models that are named.

    Parameters
    ----------
    tile_rows : pa.Table
        Rows of `tiles` as committed, with `well` and the columns of `TILE_KEY` at least.
    models : ModelPair
        In full.
    """
    for kind, name in (("segmenter", models.segmenter), ("classifier", models.classifier)):
        if name is not None:
            tile_rows = tile_rows.filter(pc.equal(tile_rows[kind], name))
    return _first_of_each(tile_rows, ("well", "tile_id"), ("segmenter", "classifier"))


def all_tiles(tile_rows: pa.Table) -> pa.Table:
    """The latest row of each tile and pair of models; parameters as in `latest_tiles`."""
    return _first_of_each(tile_rows, ("well", "tile_id", "segmenter", "classifier"), ())


def crystals_of(crystal_rows: pa.Table, tiles: pa.Table) -> pa.Table:
    """The crystals that were committed with these rows of tiles.

    Parameters
    ----------
    crystal_rows : pa.Table
        Rows of `crystals` with the columns of `TILE_KEY` at least.
    tiles : pa.Table
        From `latest_tiles`, of one well, or from `all_tiles`.
    """
    keys = tiles.select(TILE_KEY)
    tile_ids = keys["tile_id"].combine_chunks()
    if len(tile_ids.unique()) < len(tile_ids):
        columns = crystal_rows.column_names
        return crystal_rows.join(keys, [*TILE_KEY], join_type="left semi").select(columns)
    index = pc.index_in(crystal_rows["tile_id"], value_set=tile_ids)
    matches = pc.is_valid(index)
    for column in TILE_KEY[1:]:
        matches = pc.and_(matches, pc.equal(crystal_rows[column], keys[column].take(index)))
    return crystal_rows.filter(pc.fill_null(matches, False))


def _first_of_each(rows: pa.Table, groups: tuple[str, ...], preferred: tuple[str, ...]) -> pa.Table:
    """The row of each group that was scanned last; of equal times, the first by these columns."""
    if len(pc.unique(rows["tile_id"])) == rows.num_rows:
        return rows  # No tile was scanned twice.
    order = [(name, "ascending") for name in groups]
    order += [("scanned_at", "descending"), *((name, "ascending") for name in preferred)]
    rows = rows.take(pc.sort_indices(rows, order)).combine_chunks()
    starts = np.zeros(rows.num_rows, dtype=bool)
    starts[0] = True
    for name in groups:
        column = rows[name].combine_chunks()
        starts[1:] |= pc.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
    return rows.filter(pa.array(starts))
