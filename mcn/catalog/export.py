"""Export of crystals: COCO for annotation tools and training, GeoJSON, CSV, Parquet."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.active_files import Depths
from mcn.catalog.formats import row_objects, write_table
from mcn.catalog.query import find_models, iter_batches, known_wells, open_views
from mcn.catalog.schema import TILES
from mcn.catalog.selection import Selection, located
from mcn.catalog.storage import CatalogError
from mcn.catalog.wells_table.places import Box
from mcn.mask import RLE, decode_rles
from mcn.morphology.mask_stack import stack_masks
from mcn.morphology.outline import trace_rings

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog, Snapshot

_TILE_FACTS: Final = (
    "tile_id",
    "uri",
    "well",
    "depth_m",
    "width",
    "height",
    "pixel_size_um",
    "segmenter",
    "classifier",
)
PIXELS: Final = {
    "unit": "pixel",
    "origin": "top left corner of the tile in the property uri",
    "axes": ["x to the right", "y down"],
    "note": "No geographic coordinates: there is no reference system.",
}
"""Member of a FeatureCollection; RFC 7946 allows coordinates other than degrees by agreement."""

_AT_ONCE: Final = 1000
"""Number of crystals whose outlines are traced together."""

_ORDER: Final = ("well", "depth_m", "tile_id")


def export(
    catalog: Catalog,
    out: str | os.PathLike[str],
    form: str = "coco",
    wells: Sequence[str] = (),
    depth: Depths | None = None,
    segmenter: str | None = None,
    classifier: str | None = None,
    formations: Sequence[str] = (),
    box: Box | None = None,
    *,
    corrected: bool = False,
) -> int:
    """Write the crystals of wells and depths to one file, in batches.

    Parameters
    ----------
    catalog : Catalog
    out : str or path
        File to write. It appears only when it is complete.
    form : {"coco", "csv", "parquet", "geojson"}
        COCO has tiles as images (also those without crystals), crystals as annotations with
        run-length masks, and shapes as categories from 1. GeoJSON has one feature per crystal
        in pixels of its tile, x to the right and y down, as QuPath reads them; its member
        `coordinate_system` states this, and no geographic system is claimed.
    wells, depth, segmenter, classifier, formations, box, corrected
        As in `mcn.catalog.selection.Selection`.

    Returns
    -------
    int
        Number of crystals written.

    Raises
    ------
    CatalogError
        For an unknown format, well or model, for depths that are reversed or not numbers, and
        for a file that cannot be written.
    """
    if form not in EXPORT_FORMATS:
        raise CatalogError(f"unknown format {form!r}; use one of {', '.join(EXPORT_FORMATS)}")
    selection = Selection(
        wells,
        depth,
        segmenter=segmenter,
        classifier=classifier,
        formations=formations,
        box=box,
        corrected=corrected,
    )
    with _whole_file(Path(out)) as path:
        return EXPORT_FORMATS[form](catalog, selection, path, os.fspath(out))


def _write_table(form: str, catalog: Catalog, selection: Selection, path: Path, name: str) -> int:
    with path.open("wb") as file:
        return write_table(iter_batches(catalog, selection), form, file, name)


def _write_text(
    write: Callable[[Catalog, Selection, TextIO], int],
    catalog: Catalog,
    selection: Selection,
    path: Path,
    name: str,
) -> int:
    with path.open("w", encoding="utf-8") as text:
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
            "segmenter": row["segmenter"],
            "classifier": row["classifier"],
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
    text.write('{"type": "FeatureCollection",\n')
    text.write(f'"coordinate_system": {json.dumps(PIXELS)},\n"features": ')
    count = _write_list(
        (
            crystal_feature(row, geometry, uri=uri_of[row["tile_id"]])
            for row, geometry in _outlined(_rows(catalog, selection, snapshot))
        ),
        text,
    )
    text.write("}\n")
    return count


EXPORT_FORMATS: Final[Mapping[str, Callable[[Catalog, Selection, Path, str], int]]] = {
    "coco": partial(_write_text, _write_coco),
    "csv": partial(_write_table, "csv"),
    "parquet": partial(_write_table, "parquet"),
    "geojson": partial(_write_text, _write_geojson),
}
"""Writer of each format: writes the selected crystals to a path and returns their number.

The last argument is the name of the file for messages.
"""


def _outlined(
    rows: Iterator[dict[str, Any]],
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Rows without their masks, each with the geometry of its mask."""
    while batch := list(itertools.islice(rows, _AT_ONCE)):
        yield from zip(
            batch, outline_geometries([row.pop("mask_rle") for row in batch]), strict=True
        )


def _rows(catalog: Catalog, selection: Selection, snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    for piece in iter_batches(catalog, selection, snapshot=snapshot):
        yield from row_objects(piece)


def tiles_of(
    catalog: Catalog,
    selection: Selection,
    snapshot: Snapshot,
    facts: Sequence[str] = _TILE_FACTS,
) -> pa.Table:
    """Columns of the successfully read tiles, sorted by well and depth."""
    if selection.formations or selection.box:
        intervals = located(catalog, selection, snapshot)
        parts = [tiles_of(catalog, interval, snapshot, facts) for interval in intervals]
        none = pa.schema([TILES.field(name).with_nullable(True) for name in facts]).empty_table()
        return pa.concat_tables([none, *parts])
    tile_files = known_wells(catalog, snapshot.tiles, selection.wells)
    models = find_models(
        catalog, snapshot.tiles, selection.wells, selection.segmenter, selection.classifier
    )
    low, high = selection.depth or (None, None)
    with open_views(catalog, tile_files, models=models) as connection:
        tiles = connection.sql(
            f"SELECT {', '.join({*facts, *_ORDER})} FROM tiles WHERE status = 'ok'"
        ).to_arrow_table()
    if low is not None:
        tiles = tiles.filter(pc.field("depth_m") >= low)
    if high is not None:
        tiles = tiles.filter(pc.field("depth_m") <= high)
    return tiles.sort_by([(name, "ascending") for name in _ORDER]).select(facts)


def crystal_feature(
    row: Mapping[str, Any], geometry: Mapping[str, Any], **properties: Any
) -> dict[str, Any]:
    """A GeoJSON feature of a crystal, as QuPath reads it.

    Parameters
    ----------
    row : mapping
        Columns of `crystals` without the mask.
    geometry : mapping
        Its outline in pixels.
    **properties
        Further properties.
    """
    return {
        "type": "Feature",
        "id": row["crystal_id"],
        "geometry": geometry,
        "properties": {
            "objectType": "detection",
            "classification": {"name": row["shape"]},
            **properties,
            **row,
        },
    }


def outline_geometry(rle: RLE) -> dict[str, Any]:
    """GeoJSON geometry of a mask (see `outline_geometries`)."""
    return outline_geometries([rle])[0]


def outline_geometries(rles: Sequence[RLE]) -> list[dict[str, Any]]:
    """GeoJSON geometries of masks, computed together.

    A geometry is a Polygon, or a MultiPolygon if the mask has several pieces, in pixels of the
    image: the first pixel reaches from 0 to 1. Lines go through the middles of the pixels' edges
    (see `mcn.morphology.outline`) and never touch themselves, and exactly the mask's pixels have
    their centre inside. Outer rings run anticlockwise and holes clockwise in the sense of
    RFC 7946, where y points upwards.
    """
    geometries: list[dict[str, Any]] = [
        {"type": "MultiPolygon", "coordinates": []} for _ in range(len(rles))
    ]
    masks = decode_rles(rles)
    filled = [number for number, mask in enumerate(masks) if mask.pixels.size]
    for stack in stack_masks([masks[number] for number in filled]):
        rings = trace_rings(stack)
        numbers = np.array(filled)[stack.order]
        corner = np.array([[masks[n].x - 1, masks[n].y] for n in numbers]) + 0.5
        corner[:, 1] -= stack.top
        shift = corner[np.repeat(rings.mask, rings.lines.n_vertices)]
        x, y = rings.lines.x + shift[:, 0], rings.lines.y + shift[:, 1]
        # Tuples take half the time of lists, and the garbage collector skips them.
        points = list(zip(x.tolist(), y.tolist(), strict=True))
        ends = rings.lines.start.tolist()
        polygons: list[list[list[list[tuple[float, float]]]]] = [[] for _ in numbers]
        for begin, end, mask, is_outer in zip(
            ends, ends[1:], rings.mask.tolist(), rings.is_outer.tolist(), strict=False
        ):
            ring = [*points[begin:end], points[begin]]
            if is_outer:
                polygons[mask].append([ring])
            else:
                polygons[mask][-1].append(ring)
        for number, pieces in zip(numbers.tolist(), polygons, strict=True):
            geometries[number] = (
                {"type": "Polygon", "coordinates": pieces[0]}
                if len(pieces) == 1
                else {"type": "MultiPolygon", "coordinates": pieces}
            )
    return geometries


def _write_list(objects: Iterator[dict[str, Any]], text: TextIO) -> int:
    count = 0
    for item in objects:
        text.write(",\n" if count else "[\n")
        text.write(json.dumps(item, ensure_ascii=False))
        count += 1
    text.write("]" if count else "[]")
    return count


@contextmanager
def _whole_file(out: Path) -> Iterator[Path]:
    """A temporary file that is renamed to `out` when it is complete."""
    part = out.with_name(f".{out.name}.part")
    try:
        if out.is_dir():
            raise CatalogError(f"{out}: is a folder; give a file to write")
        yield part
        part.replace(out)
    except OSError as error:
        raise CatalogError(
            f"{out}: cannot be written ({error.strerror or error}); choose another file"
        ) from None
    finally:
        part.unlink(missing_ok=True)
