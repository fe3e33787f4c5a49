"""Tiles and crystals of one well by the latest models of each tile, or by those that are named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from mcn.catalog.active_files import Depths, Snapshot, files
from mcn.catalog.model_names import ModelPair
from mcn.catalog.reading.latest import TILE_KEY, crystals_of, latest_tiles
from mcn.catalog.reading.rows import Where, read_rows
from mcn.catalog.reading.views import reading
from mcn.catalog.schema import TILES

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog


def read_tiles(
    catalog: Catalog,
    snapshot: Snapshot,
    well: str,
    models: ModelPair,
    columns: Sequence[str],
    depth: Depths | None = None,
) -> pa.Table:
    """These columns, the well, the depth and the columns of `TILE_KEY` of a well's tiles.

    Failed tiles are included. The tiles are in no order.
    """
    tile_files = files(snapshot.tiles, [well])
    needed = [*dict.fromkeys((*columns, "well", "depth_m", *TILE_KEY))]
    with reading(catalog, {"tiles": tile_files}):
        open_files = catalog.live.fragments.of("tiles", tile_files)
        # Another model may have another depth for a tile, so the latest row comes first.
        tiles = latest_tiles(read_rows(open_files, TILES, needed), models)
    return tiles if depth is None else Where(depth).of(tiles)


def read_crystals(
    catalog: Catalog,
    snapshot: Snapshot,
    well: str,
    tiles: pa.Table,
    columns: Sequence[str],
    depth: Depths | None = None,
) -> pa.Table:
    """These columns of the crystals of tiles, as `read_tiles` gives them, in no order."""
    crystal_files = files(snapshot.crystals, [well], depth)
    with reading(catalog, {"crystals": crystal_files}):
        rows = read_rows(
            catalog.live.fragments.of("crystals", crystal_files),
            catalog.crystals_schema,
            [*dict.fromkeys([*columns, *TILE_KEY])],
            Where(depth or (None, None)),
        )
    return crystals_of(rows, tiles).select([*columns])
