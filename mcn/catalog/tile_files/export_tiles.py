"""Exports with one file per tile: label images, and GeoJSON that opens on the tile's picture."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.export import tiles_of, write_features
from mcn.catalog.formats import row_objects, write_table
from mcn.catalog.query import iter_batches
from mcn.catalog.storage import CatalogError, explained_output
from mcn.catalog.tile_files.label_image import label_image, write_label_image
from mcn.crystals import crystal_masks

if TYPE_CHECKING:
    from mcn.catalog.selection import Selection
    from mcn.catalog.store import Catalog

INDEX: Final = "tiles.csv"
_FACTS: Final = ("tile_id", "uri", "well", "depth_m", "width", "height", "pixel_size_um")
_UNSAFE: Final = re.compile(r"[^\w.-]+")

Tile = Mapping[str, Any]


@dataclass(frozen=True)
class ExportedTiles:
    """Result of `export_tiles`: the index, and how many tiles and crystals are in the folder."""

    index: Path
    tiles: int
    crystals: int


def export_tiles(
    catalog: Catalog, out: str | os.PathLike[str], form: str, selection: Selection
) -> ExportedTiles:
    """Write one file for each tile, and `tiles.csv`, which names them.

    Parameters
    ----------
    catalog : Catalog
    out : str or path
        Folder to write to, named after the tiles' pictures.
    form : {"labels", "geojson"}
        *labels*: `NAME.tif`, a label image of the tile's size, and `NAME.csv`, with the crystal
        of each label in the column `index`, as napari expects it. *geojson*: `NAME.geojson`, a
        FeatureCollection in the tile's pixels for QuPath.
    selection : Selection
        Tiles without crystals are included if they could be read.

    Returns
    -------
    ExportedTiles

    Raises
    ------
    CatalogError
        For an unknown format, a folder that holds an export, or one that cannot be written, and
        as `mcn.catalog.query.query`.
    """
    if form not in TILE_FORMATS:
        raise CatalogError(f"no files of tiles as {form!r}; use one of {', '.join(TILE_FORMATS)}")
    folder = Path(out)
    if (folder / INDEX).exists():
        raise CatalogError(f"{folder}: already holds an export ({INDEX}); name another folder")
    snapshot = catalog.snapshot()
    rows_of_tiles = tiles_of(catalog, selection, snapshot, _FACTS).to_pylist()
    tiles = {row["tile_id"]: row for row in rows_of_tiles}
    names = file_names(list(tiles.values()))
    left = dict(tiles)
    counts = dict.fromkeys(tiles, 0)
    write, ending = TILE_FORMATS[form]
    with explained_output(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for batch in iter_batches(catalog, selection, snapshot=snapshot):
            for tile_id, rows in _by_tile(batch):
                counts[tile_id] = rows.num_rows
                write(folder / names[tile_id], left.pop(tile_id), rows)
        for tile_id, tile in left.items():
            write(folder / names[tile_id], tile, catalog.crystals_schema.empty_table())
        _write_index(
            folder,
            [
                {"file": f"{names[tile_id]}{ending}", **tile, "crystals": counts[tile_id]}
                for tile_id, tile in tiles.items()
            ],
        )
    return ExportedTiles(folder / INDEX, len(tiles), sum(counts.values()))


def _write_labels(path: Path, tile: Tile, rows: pa.Table) -> None:
    labels = label_image(crystal_masks(rows), tile["height"], tile["width"])
    write_label_image(labels, f"{path}.tif", tile["pixel_size_um"])
    index = pa.array(np.arange(1, rows.num_rows + 1))
    table = rows.drop_columns(["mask_rle"]).add_column(0, "index", index)
    with open(f"{path}.csv", "wb") as file:
        write_table(table, "csv", file)


def _write_outlines(path: Path, tile: Tile, rows: pa.Table) -> None:
    with open(f"{path}.geojson", "w", encoding="utf-8") as text:
        write_features(iter(row_objects(rows)), {tile["tile_id"]: tile["uri"]}, text)


TILE_FORMATS: Final[Mapping[str, tuple[Callable[[Path, Tile, pa.Table], None], str]]] = {
    "labels": (_write_labels, ".tif"),
    "geojson": (_write_outlines, ".geojson"),
}
"""Writer of each format and the ending of its file: writes a tile's crystals beside a path."""


def _by_tile(batch: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each tile; a batch has whole tiles."""
    rows = batch.sort_by([("tile_id", "ascending"), ("crystal_id", "ascending")])
    counts = pc.value_counts(rows["tile_id"]).to_pylist()
    start = 0
    for entry in counts:
        yield entry["values"], rows.slice(start, entry["counts"])
        start += entry["counts"]


def file_names(tiles: Sequence[Tile]) -> dict[str, str]:
    """A file name for each tile: its picture's, with the tile's id if that is not unique."""
    stems = [_UNSAFE.sub("_", PurePosixPath(tile["uri"]).stem) or "tile" for tile in tiles]
    counts = Counter(map(str.casefold, stems))
    return {
        tile["tile_id"]: stem if counts[stem.casefold()] == 1 else f"{stem}-{tile['tile_id'][:12]}"
        for tile, stem in zip(tiles, stems, strict=True)
    }


def _write_index(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write the index under its name only when it is complete."""
    part = folder / f".{INDEX}.part"
    with part.open("w", newline="", encoding="utf-8") as text:
        sheet = csv.DictWriter(text, ["file", *_FACTS, "crystals"])
        sheet.writeheader()
        sheet.writerows(rows)
    part.replace(folder / INDEX)
