"""The two tables of a catalogue: columns, keys, and the conversion of rows."""

from __future__ import annotations

import hashlib
import itertools
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from mcn.catalog.wells import plain_well, well_fault
from mcn.crystals import classified_schema, crystal_ids, required, shapes_of
from mcn.errors import McnError
from mcn.taxonomy import SHAPES

_TIME: Final = pa.timestamp("us", tz="UTC")

DEPTH_BIN_M: Final = 500.0
"""Width of the depth bins of a new catalogue in metres. Narrower ones save little reading, since a
file is in order of depth, and make more files to list (`docs/measurements.md`)."""


def crystals_schema(shapes: Sequence[str]) -> pa.Schema:
    """Columns of `crystals` for a classifier of these shapes, with a `p_<shape>` for each."""
    return _crystals_schema(tuple(shapes))


@cache
def _crystals_schema(shapes: tuple[str, ...]) -> pa.Schema:
    return pa.schema(
        [
            required("crystal_id", pa.string()),
            required("tile_id", pa.string()),
            required("well", pa.string()),
            required("depth_m", pa.float64()),
            required("depth_bin", pa.float64()),
            *classified_schema(shapes),
            required("segmenter", pa.string()),
            required("classifier", pa.string()),
            required("scanned_at", _TIME),
        ]
    )


CRYSTALS: Final[pa.Schema] = crystals_schema(SHAPES)
"""Columns of `crystals`, one row per crystal; partitioned by `well` and `depth_bin`."""


TILES: Final[pa.Schema] = pa.schema(
    [
        required("tile_id", pa.string()),
        required("uri", pa.string()),
        pa.field("etag", pa.string()),
        required("well", pa.string()),
        required("depth_m", pa.float64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("pixel_size_um", pa.float64()),
        required("pixel_size_source", pa.string()),
        required("n_crystals", pa.int32()),
        pa.field("crystal_area_fraction", pa.float64()),
        required("status", pa.string()),
        pa.field("error", pa.string()),
        required("segmenter", pa.string()),
        required("classifier", pa.string()),
        required("scan_id", pa.string()),
        required("scanned_at", _TIME),
        pa.field("seconds", pa.float64()),
        pa.field("note", pa.string()),
        pa.field("visible_pore_fraction", pa.float64()),
        pa.field("data_bar_y", pa.int32()),
    ]
)
"""Columns of `tiles`, one row per scanned tile; partitioned by `well`."""

ADDED_LATER: Final = frozenset(
    {
        *("note", "visible_pore_fraction", "data_bar_y"),
        *("contact_fraction", "roundness", "completeness"),
    }
)
"""Columns that catalogues of older versions do not have: they are read as null, and added by the
next commit."""

_TILE_KEY: Final = ["tile_id", "segmenter", "classifier"]

OK: Final = "ok"
FAILED: Final = "failed"


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
        The object's version according to the store; it changes with the content.
    well, depth_m : str, float
        Origin of the tile: any non-empty name, normalised by `mcn.catalog.wells`, and measured
        depth in metres.
    width, height : int or None
        Size of the whole micrograph in pixels; None if it could not be read.
    pixel_size_um : float or None
        Micrometres per pixel; `pixel_size_source` says where it comes from.
    n_crystals, crystal_area_fraction : int, float or None
        Number of crystals and their share of the analysed area, 0 to 1; None if failed.
    status, error : str, str or None
        `"ok"`, or `"failed"` with the reason.
    seconds : float or None
        Time the models took for this tile.
    note : str or None
        Note about a tile that was read, such as pages that were not read.
    visible_pore_fraction : float or None
        Share of the analysed area that shows pores, 0 to 1; None if failed or without crystals.
    data_bar_y : int or None
        First row of the data bar, below which nothing is analysed; None if there is no bar.
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
    note: str | None = None
    visible_pore_fraction: float | None = None
    data_bar_y: int | None = None

    def __post_init__(self) -> None:
        if not self.well:
            raise RowError(f"{self.uri}: no well is given; name one in the path or the manifest")
        fault = well_fault(self.well)
        if fault and self.status == OK:
            raise RowError(f"{self.uri}: {fault}")
        object.__setattr__(self, "well", plain_well(self.well))
        if self.depth_m is None or not math.isfinite(self.depth_m):
            raise RowError(
                f"{self.uri}: depth {self.depth_m} is not a number of metres; "
                "put it in the path or the manifest"
            )


def tile_id(uri: str) -> str:
    """Stable name of a tile: 32 hexadecimal digits of the SHA-256 of its URI.

    With 128 bits, the chance that two of 50 million tiles share a name is below 1e-23. Unicode
    forms of a URI (NFC, NFD) are the same tile.
    """
    plain = unicodedata.normalize("NFC", uri)
    # Linux file names may not be valid text; Python keeps their bytes as surrogates.
    return hashlib.sha256(plain.encode(errors="surrogateescape")).hexdigest()[:32]


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


def check_rows(catalog: str, crystals: pa.Table, tiles: pa.Table, depth_bin_m: float) -> None:
    """Check that the rows of one commit belong together.

    Parameters
    ----------
    catalog : str
        The catalogue's address, for messages.
    crystals, tiles : pa.Table
        In the schemas of the catalogue.
    depth_bin_m : float
        Width of the catalogue's depth bins in metres.

    Raises
    ------
    RowError
        For rows without a well, crystals without their tile, depth bins of another width,
        counts that differ, failed tiles with crystals and repeated tiles.
    """
    # An empty partition value is read back as null, and the table never opens again.
    if any(pc.any(pc.equal(rows["well"], "")).as_py() for rows in (crystals, tiles)):
        raise RowError(f"{catalog}: a row has no well; every row needs one")
    bins = depth_bin(crystals["depth_m"].to_numpy(), depth_bin_m)
    if not np.array_equal(bins, crystals["depth_bin"].to_numpy()):
        raise RowError(f"{catalog}: depth_bin does not match bins of {depth_bin_m:g} m")
    per_tile = crystals.group_by(_TILE_KEY).aggregate([([], "count_all")])
    joined = tiles.select([*_TILE_KEY, "n_crystals", "status"]).join(
        per_tile, _TILE_KEY, join_type="full outer"
    )
    crystal_count = pc.fill_null(joined["count_all"], 0)
    if joined.num_rows != tiles.num_rows or joined["n_crystals"].null_count:
        raise RowError(f"{catalog}: crystals belong to a tile that is not committed with them")
    stated_count = pc.cast(joined["n_crystals"], pa.int64())
    if pc.any(pc.not_equal(crystal_count, stated_count)).as_py():
        raise RowError(f"{catalog}: n_crystals of a tile is not the number of its crystals")
    if pc.any(pc.and_(pc.not_equal(joined["status"], OK), pc.greater(crystal_count, 0))).as_py():
        raise RowError(f"{catalog}: a failed tile has crystals")
    if tiles.select(_TILE_KEY).group_by(_TILE_KEY).aggregate([]).num_rows != tiles.num_rows:
        raise RowError(f"{catalog}: a tile appears twice in one commit")


def tile_table(tiles: Sequence[Tile]) -> pa.Table:
    """Rows of `tiles` (schema `TILES`); a tile without `scanned_at` gets the current time."""
    now = datetime.now(UTC)
    names = [field.name for field in fields(Tile)]
    rows = _columns(tiles, names)
    rows["scanned_at"] = [time or now for time in rows["scanned_at"]]
    return pa.table({name: rows[name] for name in TILES.names}, schema=TILES)


def stamped(rows: pa.Table, scanned_at: datetime) -> pa.Table:
    """Rows of either table with this `scanned_at`."""
    column = rows.schema.get_field_index("scanned_at")
    field = rows.schema.field(column)
    stamps = pa.repeat(pa.scalar(scanned_at, field.type), rows.num_rows)
    return rows.set_column(column, field, stamps)


def crystal_table(
    tiles: pa.Table,
    crystals: Sequence[pa.Table],
    depth_bin_m: float = DEPTH_BIN_M,
    shapes: Sequence[str] = SHAPES,
) -> pa.Table:
    """Rows of `crystals` (`crystals_schema`) from tiles and the crystals of each.

    Parameters
    ----------
    tiles : pa.Table of schema `TILES`
    crystals : sequence of pa.Table of schema `mcn.crystals.classified_schema(shapes)`
        One table per tile.
    depth_bin_m : float
        Width of the catalogue's depth bins in metres (`Catalog.depth_bin_m`).
    shapes : sequence of str
        Shapes that the crystals' classifier distinguishes (`Catalog.shapes`).
    """
    schema = crystals_schema(shapes)
    counts = [table.num_rows for table in crystals]
    tile_index = pa.array(np.repeat(np.arange(tiles.num_rows), counts))
    all_crystals = pa.concat_tables([classified_schema(shapes).empty_table(), *crystals])
    columns = dict(zip(all_crystals.column_names, all_crystals.columns, strict=True))
    for name in ("tile_id", "well", "depth_m", "segmenter", "classifier", "scanned_at"):
        columns[name] = tiles[name].take(tile_index)
    columns["depth_bin"] = pa.array(depth_bin(columns["depth_m"], depth_bin_m))
    keys = tiles.select(["tile_id", "segmenter", "classifier"]).to_pylist()
    ids = [crystal_ids(**key, count=count) for key, count in zip(keys, counts, strict=True)]
    columns["crystal_id"] = pa.array(itertools.chain.from_iterable(ids), pa.string())
    return pa.table([columns[name] for name in schema.names], schema=schema)


def picture_crystals(name: str, crystals: pa.Table, segmenter: str, classifier: str) -> pa.Table:
    """The crystals of a single picture with the columns of a catalogue's `crystals`.

    Parameters
    ----------
    name : str
        Address of the picture, from which its `tile_id` is computed.
    crystals : pa.Table of schema `mcn.crystals.classified_schema`
    segmenter, classifier : str
        Names of the models that segmented and classified them.

    Returns
    -------
    pa.Table
        Well, depth and depth bin, which a picture does not have, are null.
    """
    count, tile = crystals.num_rows, tile_id(name)
    schema = crystals_schema(shapes_of(crystals.schema))
    columns = dict(zip(crystals.column_names, crystals.columns, strict=True))
    columns |= {
        "crystal_id": pa.array(crystal_ids(tile, segmenter, classifier, count), pa.string()),
        "tile_id": pa.repeat(tile, count),
        "segmenter": pa.repeat(segmenter, count),
        "classifier": pa.repeat(classifier, count),
        "scanned_at": pa.repeat(pa.scalar(datetime.now(UTC), _TIME), count),
    }
    return pa.table(
        {field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in schema}
    )


def _columns(rows: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    values = zip(*map(attrgetter(*names), rows), strict=True)
    return dict(zip(names, values, strict=True)) if rows else dict.fromkeys(names, ())
