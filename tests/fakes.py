"""Crystals, tiles and models that tests share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mcn.catalog.schema import Tile, crystal_table, tile_table
from mcn.crystals import classified_schema, segmented_crystals
from mcn.mask import Mask
from mcn.taxonomy import FACET_OF_SHAPE, SHAPES

Row = dict[str, Any]


def crystal_row(shape: str = "rhombic", **facts: Any) -> Row:
    """One classified crystal of 5×6 pixels in a micrograph of 48×64, with some columns changed."""
    (mask,) = segmented_crystals([Mask(3, 4, np.ones((6, 5), dtype=bool))], {}, 48, 64)[
        "mask_rle"
    ].to_pylist()
    row = {
        "shape": shape,
        "facet": FACET_OF_SHAPE.get(shape, "anhedral"),
        "confidence": 0.7,
        **dict(zip((f"p_{name}" for name in SHAPES), (0.7, 0.1, 0.1, 0.1), strict=True)),
        "bbox_x": 3,
        "bbox_y": 4,
        "bbox_w": 5,
        "bbox_h": 6,
        "centroid_x": 5.0,
        "centroid_y": 6.5,
        "touches_edge": False,
        "area_px": 30,
        "equivalent_diameter_px": 6.18,
        "area_um2": 0.3,
        "equivalent_diameter_um": 0.618,
        "major_axis_um": 0.7,
        "minor_axis_um": 0.6,
        "feret_max_um": 0.8,
        "feret_min_um": 0.5,
        "perimeter_um": 2.0,
        "aspect_ratio": 1.2,
        "circularity": 0.9,
        "solidity": 1.0,
        "orientation_deg": 90.0,
        "corners": 4,
        "mask_rle": mask,
        "predicted_iou": 0.9,
        "stability": 0.95,
    }
    return row | facts


def classified_table(rows: Sequence[Row], shapes: Sequence[str] = SHAPES) -> pa.Table:
    """Rows as a table of classified crystals."""
    return pa.Table.from_pylist(list(rows), schema=classified_schema(shapes))


def catalog_rows(
    found: Sequence[tuple[Tile, Sequence[Row]]],
    depth_bin_m: float = 100.0,
    shapes: Sequence[str] = SHAPES,
) -> pa.Table:
    """The catalogue's rows of the crystals found in tiles."""
    tiles = tile_table([tile for tile, _ in found])
    tables = [classified_table(rows, shapes) for _, rows in found]
    return crystal_table(tiles, tables, depth_bin_m, shapes)
