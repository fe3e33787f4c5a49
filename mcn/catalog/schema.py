"""The two tables of a catalogue: their columns, their keys, and rows made into them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from mcn.crystals import Crystal
from mcn.errors import McnError
from mcn.taxonomy import SHAPES

_TIME: Final = pa.timestamp("us", tz="UTC")


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def crystals_schema(shapes: Sequence[str]) -> pa.Schema:
    """Columns of `crystals` where a classifier tells these shapes apart: `p_<shape>` of each."""
    return pa.schema(
        [
            _required("crystal_id", pa.string()),
            _required("tile_id", pa.string()),
            _required("well", pa.string()),
            _required("depth_m", pa.float64()),
            _required("depth_bin", pa.float64()),
            _required("shape", pa.string()),
            _required("facet", pa.string()),
            _required("confidence", pa.float32()),
            *(_required(f"p_{shape}", pa.float32()) for shape in shapes),
            _required("bbox_x", pa.int32()),
            _required("bbox_y", pa.int32()),
            _required("bbox_w", pa.int32()),
            _required("bbox_h", pa.int32()),
            _required("centroid_x", pa.float32()),
            _required("centroid_y", pa.float32()),
            _required("touches_edge", pa.bool_()),
            _required("area_px", pa.int64()),
            _required("equivalent_diameter_px", pa.float32()),
            pa.field("area_um2", pa.float32()),
            pa.field("equivalent_diameter_um", pa.float32()),
            pa.field("major_axis_um", pa.float32()),
            pa.field("minor_axis_um", pa.float32()),
            pa.field("feret_max_um", pa.float32()),
            pa.field("feret_min_um", pa.float32()),
            pa.field("perimeter_um", pa.float32()),
            pa.field("aspect_ratio", pa.float32()),
            pa.field("circularity", pa.float32()),
            pa.field("solidity", pa.float32()),
            pa.field("orientation_deg", pa.float32()),
            pa.field("corners", pa.int32()),
            _required("mask_rle", pa.string()),
            pa.field("predicted_iou", pa.float32()),
            pa.field("stability", pa.float32()),
            _required("segmenter", pa.string()),
            _required("classifier", pa.string()),
            _required("scanned_at", _TIME),
        ]
    )


CRYSTALS: Final[pa.Schema] = crystals_schema(SHAPES)
"""Columns of `crystals`, a row a crystal; partitioned by `well` and `depth_bin`."""


def shapes_of(schema: pa.Schema) -> tuple[str, ...]:
    """The shapes whose probabilities a schema of `crystals` has columns for, in their order."""
    return tuple(name.removeprefix("p_") for name in schema.names if name.startswith("p_"))


TILES: Final[pa.Schema] = pa.schema(
    [
        _required("tile_id", pa.string()),
        _required("uri", pa.string()),
        pa.field("etag", pa.string()),
        _required("well", pa.string()),
        _required("depth_m", pa.float64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("pixel_size_um", pa.float64()),
        _required("pixel_size_source", pa.string()),
        _required("n_crystals", pa.int32()),
        pa.field("crystal_area_fraction", pa.float64()),
        _required("status", pa.string()),
        pa.field("error", pa.string()),
        _required("segmenter", pa.string()),
        _required("classifier", pa.string()),
        _required("scan_id", pa.string()),
        _required("scanned_at", _TIME),
        pa.field("seconds", pa.float64()),
    ]
)
"""Columns of `tiles`, a row a scanned tile; partitioned by `well`."""

OK: Final = "ok"
FAILED: Final = "failed"

_LONGEST_WELL: Final = 240
"""Bytes: a well names a folder, and file systems stop at 255 with `well=` before it."""


class RowError(McnError, ValueError):
    """A tile or crystal that the catalogue cannot hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One scanned tile; the fields carry the names of the columns of `tiles`.

    Parameters
    ----------
    tile_id, uri : str
        `tile_id(uri)` and the object's full address.
    etag : str or None
        The object's version as the store tells it; another etag is another content.
    well, depth_m : str, float
        Where the tile comes from: any non-empty name, measured depth in metres.
    width, height : int or None
        Size of the whole micrograph in pixels; None where it could not be read.
    pixel_size_um : float or None
        Micrometres a pixel, and in `pixel_size_source` how it is known.
    n_crystals, crystal_area_fraction : int, float or None
        Crystals found and their share of the analysed area, 0 to 1; None when failed.
    status, error : str, str or None
        `"ok"`, or `"failed"` with the reason.
    seconds : float or None
        Time the models took for this tile.
    """

    tile_id: str
    uri: str
    well: str
    depth_m: float
    segmenter: str
    classifier: str
    scan_id: str
    etag: str | None = None
    width: int | None = None
    height: int | None = None
    pixel_size_um: float | None = None
    pixel_size_source: str = "unknown"
    n_crystals: int = 0
    crystal_area_fraction: float | None = None
    status: str = OK
    error: str | None = None
    scanned_at: datetime | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.well:
            raise RowError(f"{self.uri}: no well is given; name one in the path or the manifest")
        if len(_folder_name(self.well)) > _LONGEST_WELL:
            raise RowError(
                f"{self.uri}: the well name {self.well[:40]}… is too long for a folder "
                f"({_LONGEST_WELL} bytes); give it a shorter one in a manifest"
            )
        if self.depth_m is None or not math.isfinite(self.depth_m):
            raise RowError(
                f"{self.uri}: depth {self.depth_m} is not a number of metres; "
                "put it in the path or the manifest"
            )


def tile_id(uri: str) -> str:
    """Stable name of a tile: 32 hexadecimal digits of the SHA-256 of its URI.

    128 bits: the chance that two of 50 million tiles share a name is below 1e-23.
    """
    return hashlib.sha256(uri.encode()).hexdigest()[:32]


def depth_bin(depth_m: ArrayLike, width: float) -> NDArray[np.float64]:
    """Start of the depth bin that holds each depth, in metres.

    Parameters
    ----------
    depth_m : array of float
        Measured depths in metres; may be negative (above the datum).
    width : float
        Width of the bins in metres, above 0.

    Examples
    --------
    >>> depth_bin([1234.5, 0.0, -0.5], 100.0).tolist()
    [1200.0, 0.0, -100.0]
    """
    starts = np.floor(np.asarray(depth_m, dtype=np.float64) / width) * width
    return np.asarray(starts + 0.0)  # -0.0 and 0.0 would be two partitions


def crystal_ids(tile: Tile, count: int) -> list[str]:
    """Names of a tile's crystals: stable for a tile, a pair of models and an order."""
    models = hashlib.sha256(f"{tile.segmenter}|{tile.classifier}".encode()).hexdigest()[:8]
    return [f"{tile.tile_id}-{models}-{index:05d}" for index in range(count)]


def tile_table(tiles: Sequence[Tile]) -> pa.Table:
    """Rows of `tiles` (schema `TILES`); a tile without `scanned_at` gets the present."""
    now = datetime.now(UTC)
    names = [field.name for field in fields(Tile)]
    rows = _columns(tiles, names)
    rows["scanned_at"] = [time or now for time in rows["scanned_at"]]
    return pa.table({name: rows[name] for name in TILES.names}, schema=TILES)


def crystal_table(
    found: Iterable[tuple[Tile, Sequence[Crystal]]],
    depth_bin_m: float = 100.0,
    shapes: Sequence[str] = SHAPES,
) -> pa.Table:
    """Rows of `crystals` (`crystals_schema`) from tiles and the crystals found in them.

    Parameters
    ----------
    found : iterable of (Tile, sequence of Crystal)
    depth_bin_m : float
        Width of the catalogue's depth bins in metres (`Catalog.depth_bin_m`).
    shapes : sequence of str
        Those that the crystals' classifier tells apart (`Catalog.shapes`).
    """
    schema = crystals_schema(shapes)
    tiles: list[Tile] = []
    counts: list[int] = []
    crystals: list[Crystal] = []
    ids: list[str] = []
    for tile, its_crystals in found:
        tiles.append(tile)
        counts.append(len(its_crystals))
        crystals.extend(its_crystals)
        ids.extend(crystal_ids(tile, len(its_crystals)))

    now = datetime.now(UTC)
    of_tile = pa.array(np.repeat(np.arange(len(tiles)), counts))
    facts = {
        name: pa.array([getattr(tile, name) for tile in tiles], schema.field(name).type)
        for name in ("tile_id", "well", "depth_m", "segmenter", "classifier")
    }
    facts["scanned_at"] = pa.array([tile.scanned_at or now for tile in tiles], _TIME)
    facts["depth_bin"] = pa.array(depth_bin([tile.depth_m for tile in tiles], depth_bin_m))

    columns: dict[str, Any] = _columns(crystals, [field.name for field in fields(Crystal)])
    probabilities = columns.pop("probabilities")
    for shape in shapes:
        columns[f"p_{shape}"] = [p[shape] for p in probabilities]
    columns["mask_rle"] = [json.dumps(rle, separators=(",", ":")) for rle in columns["mask_rle"]]
    columns |= {name: fact.take(of_tile) for name, fact in facts.items()}
    columns["crystal_id"] = ids
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def crystals_of(rows: pa.Table) -> list[Crystal]:
    """The crystals of rows of `crystals`: what `crystal_table` was given."""
    shapes = shapes_of(rows.schema)
    plain = [field.name for field in fields(Crystal) if field.name != "probabilities"]
    return [
        Crystal(
            **{name: row[name] for name in plain if name != "mask_rle"},
            mask_rle=json.loads(row["mask_rle"]),
            probabilities={shape: row[f"p_{shape}"] for shape in shapes},
        )
        for row in rows.to_pylist()
    ]


def _columns(rows: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    values = zip(*map(attrgetter(*names), rows), strict=True)
    return dict(zip(names, values, strict=True)) if rows else dict.fromkeys(names, ())


def _folder_name(well: str) -> str:
    from urllib.parse import quote

    return quote(well, safe="")
