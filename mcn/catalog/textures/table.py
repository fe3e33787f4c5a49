"""The textures of a well's intervals, with their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from mcn.catalog.active_files import Depths, files
from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.depth_log.uncertainty import FEW_TILES
from mcn.catalog.query import find_models, known_wells, open_views
from mcn.catalog.textures.measures import texture_measures
from mcn.catalog.textures.schemes import Scheme, probabilities, read_schemes
from mcn.catalog.wells import plain_well

if TYPE_CHECKING:
    import duckdb

    from mcn.catalog.store import Catalog

TEXTURES: Final[pa.Schema] = pa.schema(
    [
        pa.field("depth_top", pa.float64(), nullable=False),
        pa.field("depth_base", pa.float64(), nullable=False),
        pa.field("scheme", pa.string(), nullable=False),
        pa.field("texture", pa.string(), nullable=False),
        pa.field("probability", pa.float64()),
        pa.field("second", pa.string()),
        pa.field("second_probability", pa.float64()),
        pa.field("n_tiles", pa.int64(), nullable=False),
        pa.field("n_crystals", pa.int64(), nullable=False),
        pa.field("few_tiles", pa.bool_(), nullable=False),
        *(
            pa.field(name, pa.float64())
            for name in ("euhedral", "contact", "pores", "spacing", "median_diameter_um")
        ),
    ]
)
"""Columns of `texture_table`: one row per interval and scheme. `texture` is that of the measures
of all tiles, `probability` the share of resamples of the tiles that have it (null for one tile),
and `second` the most frequent other one. With fewer than 8 tiles, `few_tiles`, resamples differ
too little, and probabilities are too near to 0 and 1. The measures are those of the rules."""

_TILES: Final = """
    CREATE OR REPLACE TEMP TABLE interval_tiles AS
    SELECT
        row_number() OVER (ORDER BY depth_m, tile_id) - 1 AS tile, tile_id, segmenter, classifier,
        scanned_at, visible_pore_fraction, width::DOUBLE AS width,
        coalesce(data_bar_y, height)::DOUBLE AS height
    FROM tiles
    WHERE well = $well AND status = 'ok' AND depth_m >= $top AND depth_m < $base
"""
_CRYSTALS: Final = """
    SELECT
        tile, list_position($shapes, shape) - 1 AS shape,
        CASE
            WHEN facet IN ('euhedral_to_subhedral', 'euhedral', 'subhedral') THEN 1.0::DOUBLE
            WHEN facet = 'anhedral' THEN 0.0::DOUBLE
        END AS is_euhedral,
        contact_fraction, roundness, completeness, equivalent_diameter_um, centroid_x, centroid_y
    FROM crystal_rows
    JOIN interval_tiles USING (tile_id, segmenter, classifier, scanned_at)
    WHERE well = $well AND depth_m >= $top AND depth_m < $base
    ORDER BY tile, crystal_id
"""


def texture_table(
    catalog: Catalog,
    well: str,
    step_m: float | None = None,
    segmenter: str | None = None,
    classifier: str | None = None,
    *,
    depth: Depths | None = None,
    schemes: Sequence[Scheme] | None = None,
    seed: int = 0,
) -> pa.Table:
    """Name the texture of each interval of a well by each scheme.

    Parameters
    ----------
    catalog, well, step_m, segmenter, classifier, depth, seed
        As in `mcn.catalog.depth_log.table.depth_log`, whose intervals these are.
    schemes : sequence of Scheme, optional
        By default those of `schemes.toml`.

    Returns
    -------
    pa.Table of schema `TEXTURES`
        Intervals without crystals are left out.

    Raises
    ------
    CatalogError
        As `depth_log`.
    """
    schemes = read_schemes() if schemes is None else schemes
    well = plain_well(well)
    log = depth_log(catalog, well, step_m, segmenter, classifier, depth=depth, seed=seed)
    snapshot = catalog.snapshot()
    models = find_models(catalog, snapshot.tiles, [well], segmenter, classifier)
    tile_files = known_wells(catalog, snapshot.tiles, [well])
    rows: list[dict[str, Any]] = []
    for interval in log.select(["depth_top", "depth_base", "n_tiles", "n_crystals"]).to_pylist():
        if not interval["n_crystals"]:
            continue
        span = interval["depth_top"], interval["depth_base"]
        crystal_files = files(snapshot.crystals, [well], span)
        with open_views(catalog, tile_files, crystal_files, models) as connection:
            measures = _measures(connection, catalog.shapes, well, *span, seed)
        rows += [{**interval, **_named(scheme, *measures)} for scheme in schemes]
    return pa.Table.from_pylist(rows, TEXTURES)


def _measures(
    connection: duckdb.DuckDBPyConnection,
    shapes: Sequence[str],
    well: str,
    top: float,
    base: float,
    seed: int,
) -> tuple[int, dict[str, float], dict[str, Any]]:
    """Number of tiles of an interval, its measures, and their values in resamples."""
    where = {"well": well, "top": top, "base": base}
    connection.execute(_TILES, where)
    tiles = connection.sql("SELECT * FROM interval_tiles ORDER BY tile").to_arrow_table()
    crystals = connection.sql(_CRYSTALS, params={**where, "shapes": list(shapes)}).to_arrow_table()
    columns = {name: crystals[name].to_numpy() for name in crystals.column_names}
    sizes = {
        name: tiles[name].to_numpy().astype(np.float64)
        for name in ("visible_pore_fraction", "width", "height")
    }
    tile = columns.pop("tile")
    floats = {
        name: values if name == "shape" else values.astype(np.float64)
        for name, values in columns.items()
    }
    return tiles.num_rows, *texture_measures(sizes, floats, tile, shapes, seed)


def _named(
    scheme: Scheme, n_tiles: int, values: dict[str, float], replicates: dict[str, Any]
) -> dict[str, Any]:
    once = {name: np.array([value]) for name, value in values.items()}
    texture = scheme.names[int(scheme.choose(once)[0])]
    row: dict[str, Any] = {
        "scheme": scheme.key,
        "texture": texture,
        "few_tiles": n_tiles < FEW_TILES,
        **{name: None if np.isnan(value) else value for name, value in values.items()},
    }
    if n_tiles > 1:
        shares = probabilities(scheme, replicates)
        second = max((name for name in shares if name != texture), key=lambda name: shares[name])
        row["probability"] = shares[texture]
        if shares[second]:
            row |= {"second": second, "second_probability": shares[second]}
    return {name: row[name] for name in row if name in TEXTURES.names}
