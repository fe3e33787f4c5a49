"""Reading files of wells and of formation tops: CSV or Parquet, checked row by row.

A file has one row per well, or one row per top if it has a column `formation`. Headings are read
as in `mcn.sources.table_file`, and usual other names of the columns are known (`_HEADINGS`).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pyarrow as pa

from mcn.catalog.depths import FOOT_M
from mcn.catalog.wells import plain_well, well_fault
from mcn.sources.path_pattern import SourceError
from mcn.sources.table_file import plain_name, read_table_file, typed_column, used_columns

HEADER: Final = ("name", "uwi", "latitude", "longitude", "operator", "datum")
"""What is known about a well, apart from its tops."""

_TOP: Final = ("formation", "depth_m", "depth_ft")
_NUMBERS: Final = ("latitude", "longitude", "depth_m", "depth_ft")
_OTHER_NAMES: Final = {
    "well": ("well_id", "wellid", "id"),
    "name": ("well_name", "wellname"),
    "uwi": ("api", "uwi_api", "api_uwi"),
    "latitude": ("lat", "latitude_deg", "latitude_°", "lat_deg", "lat_°"),
    "longitude": ("lon", "long", "longitude_deg", "longitude_°", "lon_deg", "lon_°", "long_deg"),
    "operator": ("company",),
    "datum": ("depth_datum", "depth_reference"),
    "formation": ("formation_name", "surface", "surface_name", "marker", "unit"),
    "depth_m": ("top_m", "md_m", "top_md_m", "top_depth_m", "depth_top_m"),
    "depth_ft": ("top_ft", "md_ft", "top_md_ft", "top_depth_ft", "depth_top_ft"),
}
_HEADINGS: Final = {name: name for name in _OTHER_NAMES} | {
    other: name for name, others in _OTHER_NAMES.items() for other in others
}
_WITHOUT_UNIT: Final = {"depth", "md", "top", "top_depth", "top_md", "depth_top"}
_KIND: Final = "wells file"
_DEEPEST_M: Final = 20_000.0
"""No well is as deep, or begins as high above its datum."""


@dataclass(frozen=True)
class WellsFile:
    """The contents of a file.

    Parameters
    ----------
    headers : dict of str to dict
        Well → what the file says about it, for the columns of `HEADER` that it has.
    tops : dict of str to list of (str, float), or None
        Well → formations and the measured depths of their tops in metres, downwards; None if
        the file is not about tops.
    """

    headers: dict[str, dict[str, Any]]
    tops: dict[str, list[tuple[str, float]]] | None


def read_wells_file(address: str) -> WellsFile:
    """Read a file of wells, or of tops.

    Parameters
    ----------
    address : str
        Local path or fsspec URI of a CSV or Parquet file with the column `well` and any of
        `name, uwi, latitude, longitude, operator, datum` (one row per well; degrees of WGS 84,
        north and east positive), or with `well, formation, depth_m` or `depth_ft` (one row per
        top, those of a well downwards).

    Raises
    ------
    SourceError
        If the file cannot be read, a well is there twice, a coordinate is out of range or lacks
        the other one, or the tops of a well are not in order of depth. The message names the row.
    """
    pick = partial(_used_columns, address=address)
    rows: list[dict[str, Any]] = []
    columns: list[str] = []
    for batch in read_table_file(address, _KIND, pick, _NUMBERS):
        columns = batch.schema.names
        rows += _rows(batch, address, len(rows))
    if not rows:
        raise SourceError(f"{address}: names no well; write one row per well")
    for number, row in enumerate(rows, start=1):
        row["well"] = _checked_well(row, address, number)
        _check_place(row, address, number)
    is_of_tops = "formation" in columns
    header_columns = [name for name in HEADER if name in columns]
    headers = _headers(rows, header_columns, address, may_repeat=is_of_tops)
    return WellsFile(headers, _tops(rows, address) if is_of_tops else None)


def _used_columns(names: Sequence[str], address: str) -> dict[str, int]:
    used = used_columns(names, _HEADINGS, ["well"], address, _KIND)
    if "formation" in used and not {"depth_m", "depth_ft"} & used.keys():
        without_unit = [name for name in names if plain_name(name) in _WITHOUT_UNIT]
        raise SourceError(
            f"{address}: column {without_unit[0]!r} has no unit; name it depth_m or depth_ft"
            if without_unit
            else f"{address}: no column depth_m; tops need well, formation and depth_m or depth_ft"
        )
    if {"depth_m", "depth_ft"} <= used.keys():
        raise SourceError(f"{address}: has depths in metres and in feet; leave one column out")
    if {"depth_m", "depth_ft"} & used.keys() and "formation" not in used:
        raise SourceError(
            f"{address}: no column formation; tops need well, formation and depth_m or depth_ft"
        )
    if len(used) == 1:
        raise SourceError(
            f"{address}: has only the column {names[used['well']]!r} of those that are known; "
            f"add {', '.join(HEADER)}, or formation and depth_m"
        )
    return used


def _rows(batch: pa.RecordBatch, address: str, before: int) -> list[dict[str, Any]]:
    columns = {}
    for name in batch.schema.names:
        kind = pa.float64() if name in _NUMBERS else pa.string()
        bad_row = partial(_bad_row, address, before, name)
        columns[name] = typed_column(batch, name, kind, bad_row).to_pylist()
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _bad_row(address: str, before: int, name: str, row: int, value: object) -> SourceError:
    wanted = "a number" if name in _NUMBERS else "a text"
    return SourceError(f"{address}: row {before + row}: {name} is {value!r}; write {wanted}")


def _checked_well(row: dict[str, Any], address: str, number: int) -> str:
    name: str | None = row["well"]
    if not name:
        raise SourceError(f"{address}: row {number}: has no well; every row needs one")
    if fault := well_fault(name):
        raise SourceError(f"{address}: row {number}: {fault}")
    return plain_well(name)


def _check_place(row: dict[str, Any], address: str, number: int) -> None:
    place = row.get("latitude"), row.get("longitude")
    if place == (None, None):
        return
    where = f"{address}: row {number}: well {row['well']!r}"
    for name, value, limit in (("latitude", place[0], 90), ("longitude", place[1], 180)):
        if value is None:
            raise SourceError(f"{where} has no {name}; give both coordinates, or none")
        # Written so that NaN is out of range too.
        if not -limit <= value <= limit:
            is_swapped = abs(place[1] or math.inf) <= 90 and abs(place[0] or math.inf) <= 180
            cure = (
                "latitude and longitude seem to be swapped"
                if is_swapped
                else "write degrees of WGS 84, north and east positive"
            )
            raise SourceError(
                f"{where} has the {name} {value:g}, outside {-limit} to {limit}; {cure}"
            )


def _headers(
    rows: Sequence[dict[str, Any]], columns: Sequence[str], address: str, *, may_repeat: bool
) -> dict[str, dict[str, Any]]:
    headers: dict[str, dict[str, Any]] = {}
    row_of: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        well = row["well"]
        header = {name: row[name] for name in columns}
        if well in headers and not may_repeat:
            raise SourceError(
                f"{address}: well {well!r} is there twice, in rows {row_of[well]} and {number}; "
                "leave one out"
            )
        if differing := [name for name in columns if headers.get(well, header)[name] != row[name]]:
            raise SourceError(
                f"{address}: well {well!r} has another {differing[0]} in row {number} than in row "
                f"{row_of[well]}; correct one of them"
            )
        headers[well] = header
        row_of.setdefault(well, number)
    return headers


def _tops(rows: Sequence[dict[str, Any]], address: str) -> dict[str, list[tuple[str, float]]]:
    tops: dict[str, list[tuple[str, float]]] = {}
    seen: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{address}: row {number}"
        well = row["well"]
        of_well = tops.setdefault(well, [])
        depth = row.get("depth_m")
        if (feet := row.get("depth_ft")) is not None:
            depth = round(feet * float(FOOT_M), 9)
        if row["formation"] is None and depth is None:
            continue  # a well of which no top is known
        if depth is not None and not abs(depth) <= _DEEPEST_M:
            raise SourceError(
                f"{where}: formation {row['formation']!r} of well {well!r} has the depth "
                f"{depth:g} m, outside -{_DEEPEST_M:g} to {_DEEPEST_M:g}; correct it"
            )
        if row["formation"] is None or depth is None:
            missing = "formation" if row["formation"] is None else "depth"
            raise SourceError(f"{where}: has no {missing}; a top needs a formation and a depth")
        formation = unicodedata.normalize("NFC", row["formation"])
        earlier = seen.setdefault((well, formation.casefold()), number)
        if earlier != number:
            raise SourceError(
                f"{where}: formation {formation!r} of well {well!r} is also in row {earlier}; "
                "leave one out, or name a repeated section otherwise"
            )
        if of_well and depth < of_well[-1][1]:
            above, above_depth = of_well[-1]
            raise SourceError(
                f"{where}: tops of well {well!r} are out of order: {formation!r} at {depth:g} m "
                f"is listed below {above!r} at {above_depth:g} m; correct the depth, or list the "
                "tops of a well downwards"
            )
        of_well.append((formation, depth))
    return tops
