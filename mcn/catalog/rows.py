"""Crystals of single pictures as rows with the catalogue's columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from mcn.catalog.schema import Tile, crystal_ids, crystals_schema, tile_id
from mcn.crystals import Crystal
from mcn.taxonomy import SHAPES

_FACTS = tuple(field.name for field in fields(Crystal) if field.name != "probabilities")


def crystal_rows(
    image: str,
    crystals: Sequence[Crystal],
    segmenter: str,
    classifier: str,
    shapes: Sequence[str] = SHAPES,
) -> list[dict[str, Any]]:
    """Rows with the catalogue's columns; well and depth, which a picture lacks, are null.

    Parameters
    ----------
    image : str
        Name of the picture.
    crystals : sequence of Crystal
    segmenter, classifier : str
        Names of the models that found and named them.
    shapes : sequence of str
        Those that the classifier tells apart.
    """
    tile = Tile(
        tile_id=tile_id(image),
        uri=image,
        well=image,
        depth_m=0.0,
        segmenter=segmenter,
        classifier=classifier,
        scan_id="",
    )
    every = dict.fromkeys(crystals_schema(shapes).names) | {
        "tile_id": tile.tile_id,
        "segmenter": segmenter,
        "classifier": classifier,
        "scanned_at": datetime.now(UTC).isoformat(),
    }
    rows = []
    for crystal_id, crystal in zip(crystal_ids(tile, len(crystals)), crystals, strict=True):
        row = every | {"crystal_id": crystal_id}
        row |= {name: getattr(crystal, name) for name in _FACTS}
        row |= {f"p_{shape}": p for shape, p in crystal.probabilities.items()}
        rows.append(row)
    return rows
