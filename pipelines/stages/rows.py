"""Arrow tables that pass between the stages of a scan, one row per tile.

The segmentation stage drops the pixels. A tile that failed keeps its row: `error` says why and
the columns for the next stage are null.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from mcn.analyzer import Segmented
from mcn.crystals import CROP_SIZE, SEGMENTED_CRYSTALS
from mcn.micrograph import Micrograph

ORIGIN: Final = ("tile_id", "uri", "etag", "well", "depth_m")
PICTURE: Final = ("height", "width", "pixel_size_um", "pixel_size_source", "data_bar_y", "note")

_ORIGIN: Final = [
    pa.field("tile_id", pa.string()),
    pa.field("uri", pa.string()),
    pa.field("etag", pa.string()),
    pa.field("well", pa.string()),
    pa.field("depth_m", pa.float64()),
]
_PICTURE: Final = [
    pa.field("height", pa.int32()),
    pa.field("width", pa.int32()),
    pa.field("pixel_size_um", pa.float64()),
    pa.field("pixel_size_source", pa.string()),
    pa.field("data_bar_y", pa.int32()),
    pa.field("note", pa.string()),
]
_STATUS: Final = [pa.field("seconds", pa.float64()), pa.field("error", pa.string())]

_CRYSTALS: Final = pa.struct(list(SEGMENTED_CRYSTALS))

READ: Final = pa.schema([*_ORIGIN, *_PICTURE, pa.field("pixels", pa.large_binary()), *_STATUS])
"""A tile with its pixels, height × width bytes."""

SEGMENTED: Final = pa.schema(
    [
        *_ORIGIN,
        *_PICTURE,
        pa.field("analysed_px", pa.int64()),
        pa.field("covered_px", pa.int64()),
        pa.field("pore_px", pa.int64()),
        pa.field("crops", pa.large_binary()),
        pa.field("crystals", pa.list_(_CRYSTALS)),
        *_STATUS,
    ]
)
"""A tile with its crystals and their crops, without its pixels."""


def pack_micrographs(micrographs: Sequence[Micrograph | None]) -> dict[str, pa.Array]:
    """Columns of `READ` that hold micrographs; null for None."""
    shapes = [micrograph and micrograph.pixels.shape for micrograph in micrographs]
    columns = {
        "height": [shape and shape[0] for shape in shapes],
        "width": [shape and shape[1] for shape in shapes],
        "pixels": [m and m.pixels.tobytes() for m in micrographs],
        "pixel_size_um": [m and m.pixel_size_um for m in micrographs],
        "pixel_size_source": [m and m.pixel_size_source for m in micrographs],
        "data_bar_y": [m and m.data_bar_y for m in micrographs],
        "note": [m and m.note for m in micrographs],
    }
    return {name: pa.array(values, READ.field(name).type) for name, values in columns.items()}


def unpack_micrographs(batch: pa.Table) -> list[Micrograph | None]:
    """Micrographs of a batch of `READ`; None where a tile has failed."""
    buffers = [value.as_buffer() for value in batch["pixels"]]
    records = batch.select(["uri", *PICTURE]).to_pylist()
    return [
        None
        if buffer is None
        else Micrograph(
            # Copy, because Arrow buffers are read-only and a model may write to its input.
            pixels=np.frombuffer(buffer, np.uint8).reshape(row["height"], row["width"]).copy(),
            pixel_size_um=row["pixel_size_um"],
            pixel_size_source=row["pixel_size_source"],
            name=row["uri"],
            data_bar_y=row["data_bar_y"],
        )
        for buffer, row in zip(buffers, records, strict=True)
    ]


def pack_segmented(tiles: Sequence[Segmented | None]) -> dict[str, pa.Array]:
    """Columns of `SEGMENTED` that hold segmented tiles; null for None."""
    crops = [tile and tile.crops.tobytes() for tile in tiles]
    return {
        "analysed_px": pa.array([tile and tile.analysed_px for tile in tiles], pa.int64()),
        "covered_px": pa.array([tile and tile.covered_px for tile in tiles], pa.int64()),
        "pore_px": pa.array([tile and tile.pore_px for tile in tiles], pa.int64()),
        "crops": pa.array(crops, pa.large_binary()),
        "crystals": pack_crystals([tile and tile.crystals for tile in tiles], SEGMENTED_CRYSTALS),
    }


def unpack_segmented(batch: pa.Table) -> list[Segmented | None]:
    """Segmented tiles of a batch of `SEGMENTED`; None where a tile has failed."""
    picture_columns = [name for name in PICTURE if name != "note"]
    records = batch.select([*picture_columns, "analysed_px", "covered_px", "pore_px"]).to_pylist()
    crystals = unpack_crystals(batch["crystals"])
    return [
        None
        if table is None
        else Segmented(
            # Copy, because Arrow buffers are read-only and a model may write to its input.
            crops=np.frombuffer(crops.as_buffer(), np.uint8)
            .reshape(-1, CROP_SIZE, CROP_SIZE)
            .copy(),
            crystals=table,
            **row,
        )
        for row, crops, table in zip(records, batch["crops"], crystals, strict=True)
    ]


def pack_crystals(tables: Sequence[pa.Table | None], schema: pa.Schema) -> pa.ListArray:
    """A list column of crystals from one table per tile; null for None."""
    counts = [None if table is None else table.num_rows for table in tables]
    crystals = pa.concat_tables(
        [schema.empty_table(), *(table for table in tables if table is not None)]
    )
    values = crystals.combine_chunks().to_struct_array().combine_chunks()
    return in_lists(values, counts)


def unpack_crystals(lists: pa.ChunkedArray) -> list[pa.Table | None]:
    """One table of crystals per tile from a list column; None for null."""
    return [
        None if crystals.values is None else pa.Table.from_struct_array(crystals.values)
        for crystals in lists
    ]


def in_lists(values: pa.Array, counts: Sequence[int | None]) -> pa.ListArray:
    """Split values into lists of the given lengths; None gives a null list."""
    offsets = np.cumsum([0, *(count or 0 for count in counts)])
    nulls = pa.array([count is None for count in counts], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=nulls)
