"""What passes between the stages of a scan: Arrow tables, one row a tile.

Pixels leave with the stage that segments; a tile that failed keeps its row, with the reason in
`error` and nothing else to work on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Final

import numpy as np
import pyarrow as pa

from mcn.analyzer import Segmented
from mcn.crystals import CROP_SIZE
from mcn.micrograph import Micrograph
from mcn.morphology import Measures

ORIGIN: Final = ("tile_id", "uri", "etag", "well", "depth_m")
PICTURE: Final = ("height", "width", "pixel_size_um", "pixel_size_source", "data_bar_y")

_ARROW: Final = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
_MEASURES: Final = tuple(field.name for field in fields(Measures))

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
]
_COURSE: Final = [pa.field("seconds", pa.float64()), pa.field("error", pa.string())]

_OUTLINE: Final = pa.struct(
    [(field.name, _ARROW[str(field.type).removesuffix(" | None")]) for field in fields(Measures)]
    + [("counts", pa.string()), ("predicted_iou", pa.float32()), ("stability", pa.float32())]
)

READ: Final = pa.schema([*_ORIGIN, *_PICTURE, pa.field("pixels", pa.large_binary()), *_COURSE])
"""A tile with its pixels, height × width bytes."""

SEGMENTED: Final = pa.schema(
    [
        *_ORIGIN,
        *_PICTURE,
        pa.field("analysed_px", pa.int64()),
        pa.field("covered_px", pa.int64()),
        pa.field("crops", pa.large_binary()),
        pa.field("outlines", pa.list_(_OUTLINE)),
        *_COURSE,
    ]
)
"""A tile with the crops and outlines of its crystals, without its pixels."""


def pack_micrographs(micrographs: Sequence[Micrograph | None]) -> dict[str, pa.Array]:
    """Columns of `READ` that hold micrographs; null for None."""
    there = [micrograph and micrograph.pixels.shape for micrograph in micrographs]
    columns = {
        "height": [shape and shape[0] for shape in there],
        "width": [shape and shape[1] for shape in there],
        "pixels": [m and m.pixels.tobytes() for m in micrographs],
        "pixel_size_um": [m and m.pixel_size_um for m in micrographs],
        "pixel_size_source": [m and m.pixel_size_source for m in micrographs],
        "data_bar_y": [m and m.data_bar_y for m in micrographs],
    }
    return {name: pa.array(values, READ.field(name).type) for name, values in columns.items()}


def unpack_micrographs(batch: pa.Table) -> list[Micrograph | None]:
    """Micrographs of a batch of `READ`; None where a tile has failed."""
    buffers = [value.as_buffer() for value in batch["pixels"]]
    rest = batch.select(["uri", *PICTURE]).to_pylist()
    return [
        None
        if buffer is None
        else Micrograph(
            # A copy, because Arrow's memory cannot be written to and a model may.
            pixels=np.frombuffer(buffer, np.uint8).reshape(row["height"], row["width"]).copy(),
            pixel_size_um=row["pixel_size_um"],
            pixel_size_source=row["pixel_size_source"],
            name=row["uri"],
            data_bar_y=row["data_bar_y"],
        )
        for buffer, row in zip(buffers, rest, strict=True)
    ]


def pack_segmented(tiles: Sequence[Segmented | None]) -> dict[str, pa.Array]:
    """Columns of `SEGMENTED` that hold segmented tiles; null for None."""
    found = [tile for tile in tiles if tile is not None]
    measures = [measure for tile in found for measure in tile.measures]
    columns = {name: [getattr(measure, name) for measure in measures] for name in _MEASURES}
    columns["counts"] = [rle["counts"] for tile in found for rle in tile.rles]
    columns["predicted_iou"] = [iou for tile in found for iou in tile.predicted_iou.tolist()]
    columns["stability"] = [value for tile in found for value in tile.stability.tolist()]
    outlines = pa.StructArray.from_arrays(
        [pa.array(columns[field.name], field.type) for field in _OUTLINE], fields=list(_OUTLINE)
    )
    counts = [None if tile is None else len(tile.measures) for tile in tiles]
    crops = [tile and tile.crops.tobytes() for tile in tiles]
    return {
        "analysed_px": pa.array([tile and tile.analysed_px for tile in tiles], pa.int64()),
        "covered_px": pa.array([tile and tile.covered_px for tile in tiles], pa.int64()),
        "crops": pa.array(crops, pa.large_binary()),
        "outlines": in_lists(outlines, counts),
    }


def unpack_segmented(batch: pa.Table) -> list[Segmented | None]:
    """Segmented tiles of a batch of `SEGMENTED`; None where a tile has failed."""
    rest = batch.select([*PICTURE, "analysed_px", "covered_px"]).to_pylist()
    tiles: list[Segmented | None] = []
    for row, crops, outlines in zip(rest, batch["crops"], batch["outlines"], strict=True):
        if outlines.values is None:
            tiles.append(None)
            continue
        columns = {
            field.name: column.to_pylist()
            for field, column in zip(_OUTLINE, outlines.values.flatten(), strict=True)
        }
        size = [row["height"], row["width"]]
        measures = zip(*(columns[name] for name in _MEASURES), strict=True)
        tiles.append(
            Segmented(
                crops=np.frombuffer(crops.as_buffer(), np.uint8)
                .reshape(-1, CROP_SIZE, CROP_SIZE)
                .copy(),
                measures=tuple(Measures(*values) for values in measures),
                rles=tuple({"size": size, "counts": counts} for counts in columns["counts"]),
                predicted_iou=np.array(columns["predicted_iou"], np.float32),
                stability=np.array(columns["stability"], np.float32),
                height=row["height"],
                width=row["width"],
                analysed_px=row["analysed_px"],
                covered_px=row["covered_px"],
                pixel_size_um=row["pixel_size_um"],
                pixel_size_source=row["pixel_size_source"],
                data_bar_y=row["data_bar_y"],
            )
        )
    return tiles


def in_lists(values: pa.Array, counts: Sequence[int | None]) -> pa.ListArray:
    """Values cut into lists of so many each; None gives a null list."""
    offsets = np.cumsum([0, *(count or 0 for count in counts)])
    nulls = pa.array([count is None for count in counts], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=nulls)
