"""Catalogues taken elsewhere: COCO for annotation tools and training, GeoJSON, CSV, Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mcn.catalog.dataset import Depths
from mcn.catalog.formats import row_objects, write_table
from mcn.catalog.query import Selection, known_wells, pieces_of, question
from mcn.catalog.storage import CatalogError
from mcn.mask import decode_rle

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog, Snapshot

FORMATS: Final = ("coco", "csv", "parquet", "geojson")

_TILE_FACTS: Final = ("tile_id", "uri", "well", "depth_m", "width", "height", "pixel_size_um")
_ORDER: Final = ("well", "depth_m", "tile_id")


def export(
    catalog: Catalog,
    out: str | os.PathLike[str],
    form: str = "coco",
    wells: Sequence[str] = (),
    depth: Depths | None = None,
) -> int:
    """Write the crystals of wells and depths to one file, piece by piece.

    Parameters
    ----------
    catalog : Catalog
    out : str or path
        File to write; it is there only once it is whole.
    form : {"coco", "csv", "parquet", "geojson"}
        COCO has tiles as images (also those without crystals), crystals as annotations with
        run-length masks, shapes as categories from 1. GeoJSON has a feature a crystal whose
        coordinates are pixels of its tile, x to the right and y down, as QuPath reads them.
    wells, depth
        As in `mcn.catalog.query.query`.

    Returns
    -------
    int
        Crystals written.

    Raises
    ------
    CatalogError
        For an unknown format or well, and a file that cannot be written.
    """
    if form not in FORMATS:
        raise CatalogError(f"no format {form!r}; there are {', '.join(FORMATS)}")
    selection = Selection(wells=wells, depth=depth)
    with _whole_file(Path(out)) as path:
        if form in ("csv", "parquet"):
            with path.open("wb") as file:
                return write_table(pieces_of(catalog, selection), form, file, os.fspath(out))
        with path.open("w", encoding="utf-8") as text:
            write = _write_coco if form == "coco" else _write_geojson
            return write(catalog, selection, text)


def _write_coco(catalog: Catalog, selection: Selection, text: TextIO) -> int:
    snapshot = catalog.snapshot()
    tiles = tiles_of(catalog, selection, snapshot)
    image_of = dict(zip(tiles["tile_id"].to_pylist(), range(1, tiles.num_rows + 1), strict=True))
    category_of = {shape: number for number, shape in enumerate(catalog.shapes, start=1)}
    categories = [
        {"id": number, "name": shape, "supercategory": "crystal"}
        for shape, number in category_of.items()
    ]
    images = (
        {"id": image_of[tile["tile_id"]], "file_name": tile.pop("uri"), **tile}
        for tile in row_objects(tiles)
    )
    annotations = (
        {
            "id": number,
            "image_id": image_of[row["tile_id"]],
            "category_id": category_of[row["shape"]],
            "segmentation": row["mask_rle"],
            "area": row["area_px"],
            "bbox": [row[f"bbox_{side}"] for side in "xywh"],
            "iscrowd": 0,
            "score": row["confidence"],
            "crystal_id": row["crystal_id"],
        }
        for number, row in enumerate(_rows(catalog, selection, snapshot), start=1)
    )
    about = {"description": f"Microcrystals of {catalog.uri}", "version": "1.0"}
    text.write(f'{{"info": {json.dumps(about)},\n"licenses": [],\n')
    text.write(f'"categories": {json.dumps(categories)},\n"images": ')
    _write_list(images, text)
    text.write(',\n"annotations": ')
    count = _write_list(annotations, text)
    text.write("}\n")
    return count


def _write_geojson(catalog: Catalog, selection: Selection, text: TextIO) -> int:
    snapshot = catalog.snapshot()
    tiles = tiles_of(catalog, selection, snapshot)
    uri_of = dict(zip(tiles["tile_id"].to_pylist(), tiles["uri"].to_pylist(), strict=True))
    features = (
        {
            "type": "Feature",
            "id": row["crystal_id"],
            "geometry": outline_geometry(row.pop("mask_rle")),
            "properties": {"uri": uri_of[row["tile_id"]], **row},
        }
        for row in _rows(catalog, selection, snapshot)
    )
    text.write('{"type": "FeatureCollection",\n"features": ')
    count = _write_list(features, text)
    text.write("}\n")
    return count


def _rows(catalog: Catalog, selection: Selection, snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    for piece in pieces_of(catalog, selection, snapshot=snapshot):
        yield from row_objects(piece)


def tiles_of(
    catalog: Catalog,
    selection: Selection,
    snapshot: Snapshot,
    facts: Sequence[str] = _TILE_FACTS,
) -> pa.Table:
    """Facts of the tiles that were read, each once, in order of well and depth."""
    found = known_wells(catalog, snapshot.tiles, selection.wells)
    low, high = selection.depth or (None, None)
    with question(catalog, found) as connection:
        tiles = connection.sql(
            f"SELECT DISTINCT ON (tile_id) {', '.join({*facts, *_ORDER})} FROM tiles "
            "WHERE status = 'ok' ORDER BY tile_id, scanned_at DESC"
        ).to_arrow_table()
    if low is not None:
        tiles = tiles.filter(pc.field("depth_m") >= low)
    if high is not None:
        tiles = tiles.filter(pc.field("depth_m") <= high)
    return tiles.sort_by([(name, "ascending") for name in _ORDER]).select(facts)


def outline_geometry(rle: Any) -> dict[str, Any]:
    """GeoJSON geometry of a mask: rings half a pixel or less from the pixels' borders."""
    from scipy.ndimage import label

    mask = decode_rle(rle)
    pieces, count = label(mask.pixels)
    corner = np.array([mask.x, mask.y])
    polygons = []
    for number in range(1, count + 1):
        rings = sorted(_rings(pieces == number), key=lambda ring: -abs(_signed_area(ring)))
        # RFC 7946: the outer ring runs anticlockwise, the holes the other way.
        turned = [
            ring if (_signed_area(ring) > 0) == (index == 0) else ring[::-1]
            for index, ring in enumerate(rings)
        ]
        polygons.append([(ring + corner).tolist() for ring in turned])
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _rings(piece: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed rings (n, 2) of x, y around one connected piece and around its holes."""
    from skimage.measure import approximate_polygon, find_contours

    padded = np.pad(piece, 1).astype(np.float32)
    rings = [approximate_polygon(ring, 0.1) for ring in find_contours(padded, 0.5)]
    return [np.round(ring[:, ::-1] - 0.5, 2) for ring in rings]


def _signed_area(ring: NDArray[np.float64]) -> float:
    x, y = ring[:-1, 0], ring[:-1, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _write_list(objects: Iterator[dict[str, Any]], text: TextIO) -> int:
    count = 0
    for one in objects:
        text.write(",\n" if count else "[\n")
        text.write(json.dumps(one, ensure_ascii=False))
        count += 1
    text.write("]" if count else "[]")
    return count


@contextmanager
def _whole_file(out: Path) -> Iterator[Path]:
    """A file beside the wanted one, that takes its name when it is whole."""
    part = out.with_name(f".{out.name}.part")
    try:
        if out.is_dir():
            raise CatalogError(f"{out}: that is a folder; give a file to write")
        yield part
        part.replace(out)
    except OSError as error:
        raise CatalogError(
            f"{out}: cannot be written ({error.strerror or error}); choose another file"
        ) from None
    finally:
        part.unlink(missing_ok=True)
