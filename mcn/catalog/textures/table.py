"""The textures of a well's intervals, with their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from mcn.catalog.active_files import Depths
from mcn.catalog.depth_log.table import split_intervals
from mcn.catalog.depth_log.uncertainty import FEW_TILES, LEAST_TILES
from mcn.catalog.depth_log.well_tiles import read_well_tiles
from mcn.catalog.depths import check_depth
from mcn.catalog.textures.measures import texture_measures
from mcn.catalog.textures.schemes import Scheme, probabilities, read_schemes

if TYPE_CHECKING:
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
of all tiles, `probability` the share of resamples of the tiles that have it (null below 3 tiles),
and `second` the most frequent other one. With fewer than 8 tiles, `few_tiles`, resamples differ
too little, and probabilities are too near to 0 and 1. The measures are those of the rules."""

_CRYSTAL_COLUMNS: Final = (
    *("contact_fraction", "roundness", "completeness", "equivalent_diameter_um"),
    *("centroid_x", "centroid_y"),
)


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
    corrected: bool = False,
) -> pa.Table:
    """Name the texture of each interval of a well by each scheme.

    Parameters
    ----------
    catalog, well, step_m, segmenter, classifier, depth, seed, corrected
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
    window = check_depth(depth)
    well_tiles = read_well_tiles(
        catalog, well, segmenter, classifier, window, ["visible_pore_fraction"], corrected=corrected
    )
    intervals = split_intervals(well_tiles.depths, step_m, window)
    tiles = well_tiles.columns()
    rows: list[dict[str, Any]] = []
    spans = pairwise(intervals.first_tile.tolist())
    for (first, last), *edges in zip(spans, *intervals.edges(intervals.number), strict=True):
        crystals = well_tiles.crystals(first, last, _CRYSTAL_COLUMNS)
        tile = crystals.pop("tile")
        if not len(tile):
            continue
        inside = {name: values[first:last] for name, values in tiles.items()}
        measures = texture_measures(inside, crystals, tile, catalog.shapes, seed)
        interval = {
            **dict(zip(("depth_top", "depth_base"), map(float, edges), strict=True)),
            "n_tiles": last - first,
            "n_crystals": len(tile),
        }
        rows += [{**interval, **_named(scheme, last - first, *measures)} for scheme in schemes]
    return pa.Table.from_pylist(rows, TEXTURES)


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
    if n_tiles >= LEAST_TILES:
        shares = probabilities(scheme, replicates)
        second = max((name for name in shares if name != texture), key=lambda name: shares[name])
        row["probability"] = shares[texture]
        if shares[second]:
            row |= {"second": second, "second_probability": shares[second]}
    return {name: row[name] for name in row if name in TEXTURES.names}
