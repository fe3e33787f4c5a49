"""Tables of crystals as responses: columns, masks, and the format that was asked for."""

from __future__ import annotations

import io
import json
from typing import Any, Final

import orjson
import pyarrow as pa

from mcn.catalog.corrected.views import number_columns
from mcn.catalog.export import PIXELS, crystal_feature, outline_geometries
from mcn.catalog.formats import row_objects, write_table
from mcn.catalog.selection import Selection
from mcn.catalog.storage import CatalogQueryError
from mcn.errors import unknown_name
from serve.deployments.messages import ARROW, CSV, GEOJSON, CrystalRequest

_NOT_MEASURES: Final = ("bbox_x", "bbox_y", "bbox_w", "bbox_h", "depth_bin")


def selection_of(request: CrystalRequest, well: str, **others: Any) -> Selection:
    """The selection of a well's crystals that a request means."""
    return Selection(
        [well],
        shapes=request.shapes,
        segmenter=request.segmenter,
        classifier=request.classifier,
        ranges=request.ranges,
        corrected=request.corrected,
        is_corrected=request.is_corrected,
        **others,
    )


def encode_crystals(table: pa.Table, request: CrystalRequest) -> bytes:
    """Crystals in the form that was asked for; JSON is a list of rows.

    Parameters
    ----------
    table : pa.Table
        Columns of `crystals`.
    request : CrystalRequest

    Raises
    ------
    CatalogQueryError
        For columns that do not exist.
    """
    if unknown := [name for name in request.columns if name not in table.column_names]:
        raise CatalogQueryError(unknown_name("column", unknown[0], table.column_names))
    masks = table["mask_rle"]
    if request.media_type in (ARROW, CSV):
        # Flat formats have outlines as run-length codes only.
        chosen = _columns(table, request, keep_masks=request.masks != "none")
        return table_bytes(chosen, request.media_type)
    rows = row_objects(_columns(table, request, keep_masks=request.masks == "rle"))
    if request.media_type == GEOJSON:
        return orjson.dumps(_collection(table, rows, masks))
    if request.masks == "polygons":
        for row, geometry in zip(rows, outline_geometries(_codes(masks)), strict=True):
            row["mask_polygons"] = geometry
    return orjson.dumps(rows)


def sort_crystals(table: pa.Table, order: str) -> pa.Table:
    """Crystals in the order of a column, or of `crystal_id`; see `CrystalRequest.sort`."""
    column = order.removeprefix("-") or "crystal_id"
    if column not in table.column_names:
        raise CatalogQueryError(unknown_name("column", column, table.column_names))
    direction = "descending" if order.startswith("-") else "ascending"
    return table.sort_by([(column, direction), ("crystal_id", "ascending")])


def table_bytes(table: pa.Table, media_type: str) -> bytes:
    """A table as Arrow, CSV or JSON."""
    if media_type == ARROW:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())
    file = io.BytesIO()
    write_table(table, "csv" if media_type == CSV else "json", file)
    return file.getvalue()


def _columns(table: pa.Table, request: CrystalRequest, *, keep_masks: bool) -> pa.Table:
    names = list(dict.fromkeys(("crystal_id", *request.columns)))
    names = names if request.columns else table.column_names
    if request.columns and keep_masks and "mask_rle" not in names:
        names.append("mask_rle")
    return table.select([name for name in names if keep_masks or name != "mask_rle"])


def _collection(
    table: pa.Table,
    rows: list[dict[str, Any]],
    masks: pa.ChunkedArray,
) -> dict[str, Any]:
    """A GeoJSON FeatureCollection with classification and measurements, as QuPath reads it."""
    from matplotlib.colors import to_rgb

    from mcn.crystals import shapes_of
    from mcn.plots import shape_colours

    shapes = shapes_of(table.schema)
    colours = {
        shape: [round(255 * part) for part in to_rgb(colour)]
        for shape, colour in zip(shapes, shape_colours(shapes), strict=True)
    }
    numbers = [name for name in number_columns(table.schema) if name not in _NOT_MEASURES]
    features = []
    shape_of_row = table["shape"].to_pylist()
    outlines = outline_geometries(_codes(masks))
    for row, geometry, shape in zip(rows, outlines, shape_of_row, strict=True):
        row.pop("mask_rle", None)
        feature = crystal_feature({"shape": shape, **row}, geometry)
        properties = feature["properties"]
        properties["classification"]["color"] = colours.get(shape)
        properties["measurements"] = {
            name: row[name] for name in numbers if row.get(name) is not None
        }
        features.append(feature)
    return {"type": "FeatureCollection", "coordinate_system": PIXELS, "features": features}


def _codes(masks: pa.ChunkedArray) -> list[Any]:
    return [json.loads(code) for code in masks.to_pylist()]
