"""Writing query results as a terminal table, CSV, JSON or Parquet."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, BinaryIO, Final, Literal, TextIO, get_args

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.storage import CatalogError

TableFormat = Literal["table", "csv", "json", "parquet"]

_SHOWN: Final = {
    "crystal_id": "crystal",
    "well": "well",
    "depth_m": "depth m",
    "shape": "shape",
    "confidence": "conf.",
    "equivalent_diameter_um": "diameter µm",
    "aspect_ratio": "aspect",
}
"""Columns of crystals shown in a terminal, with their headings."""

_MODELS: Final = ["segmenter", "classifier"]
"""Columns shown in a terminal only if crystals are from several models."""

_LINES: Final = 200
"""Maximum number of rows of a terminal table."""

_UNFOLDED: Final = 10_000
"""Width of a table written to a file or pipe, so that each row is one line."""


def write_table(
    answer: pa.Table | Iterable[pa.Table], form: str, file: BinaryIO, name: str = "output"
) -> int:
    """Write a query result, as one table or in batches.

    Parameters
    ----------
    answer : pa.Table or iterable of pa.Table
        At least one batch, all of one schema; written one by one.
    form : {"table", "csv", "json", "parquet"}
        JSON is a list of row objects: `mask_rle` as an object, times in ISO 8601 (UTC), null
        for unknown values and NaN. The terminal table shows some columns and the first rows.
    file : binary file
        For example `sys.stdout.buffer`. It is not closed.
    name : str
        Name of the file for messages.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    CatalogError
        For an unknown format, and for Parquet to a terminal.
    """
    if form not in get_args(TableFormat):
        raise CatalogError(
            f"unknown format {form!r}; use one of {', '.join(get_args(TableFormat))}"
        )
    pieces = iter([answer] if isinstance(answer, pa.Table) else answer)
    if form == "parquet" and file.isatty():
        raise CatalogError(
            f"{name}: Parquet cannot be written to a terminal; redirect it to a file with >"
        )
    try:
        if form == "parquet":
            return _write_parquet(pieces, file)
        if form == "csv":
            return _write_csv(pieces, file)
        with _text(file) as text:
            return (_write_json if form == "json" else _write_terminal)(pieces, text)
    except pa.ArrowNotImplementedError as error:
        raise CatalogError(
            f"{name}: {form} cannot represent the result ({error}); cast the column in SQL"
        ) from None


def row_objects(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as JSON values (see `write_table`): numbers, strings, lists, objects, None."""
    columns = [_json_values(name, table[name]) for name in table.column_names]
    names = table.column_names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _write_parquet(pieces: Iterator[pa.Table], file: BinaryIO) -> int:
    import pyarrow.parquet as pq

    first = next(pieces)
    rows = 0
    options = {"compression": "zstd", "write_page_checksum": True}
    with pq.ParquetWriter(file, first.schema, **options) as writer:
        for piece in itertools.chain([first], pieces):
            writer.write_table(piece)
            rows += piece.num_rows
    return rows


def _write_csv(pieces: Iterable[pa.Table], file: BinaryIO) -> int:
    from pyarrow import csv

    rows = 0
    for index, piece in enumerate(pieces):
        flat = {name: _csv_values(piece[name]) for name in piece.column_names}
        csv.write_csv(pa.table(flat), file, csv.WriteOptions(include_header=index == 0))
        rows += piece.num_rows
    return rows


def _write_json(pieces: Iterable[pa.Table], text: TextIO) -> int:
    rows = 0
    for piece in pieces:
        for row in row_objects(piece):
            text.write(",\n " if rows else "[")
            text.write(json.dumps(row, ensure_ascii=False))
            rows += 1
    text.write("]\n" if rows else "[]\n")
    return rows


def _write_terminal(pieces: Iterable[pa.Table], text: TextIO) -> int:
    from rich.console import Console
    from rich.table import Table

    rows = 0
    names: list[str] = []
    shown: list[dict[str, Any]] = []
    models: set[tuple[str, str]] = set()
    is_crystals = False
    for piece in pieces:
        is_crystals = {*_SHOWN, *_MODELS} <= set(piece.column_names)
        names = [*_SHOWN, *_MODELS] if is_crystals else piece.column_names
        shown += row_objects(piece.select(names).slice(0, _LINES - len(shown)))
        rows += piece.num_rows
        if is_crystals:
            pairs = piece.select(_MODELS).group_by(_MODELS).aggregate([]).to_pylist()
            models |= {(pair["segmenter"], pair["classifier"]) for pair in pairs}
    if is_crystals and len(models) < 2 and text.isatty():
        names = list(_SHOWN)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        is_number = any(isinstance(row[name], int | float) for row in shown)
        table.add_column(
            _SHOWN.get(name, name), justify="right" if is_number else "left", overflow="fold"
        )
    for row in shown:
        table.add_row(*(_readable(row[name]) for name in names))
    console = Console(file=text, width=None if text.isatty() else _UNFOLDED, markup=False)
    console.print(table)
    more = f", the first {len(shown)} shown" if rows > len(shown) else ""
    console.print(f"{rows} row{'' if rows == 1 else 's'}{more}", highlight=False)
    return rows


def _json_values(name: str, column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_floating(kind):
        # Converted through text, a 32-bit 0.1 stays 0.1 instead of 0.10000000149011612.
        exact = column if kind == pa.float64() else pc.cast(pc.cast(column, pa.string()), "double")
        exact = pc.if_else(pc.is_finite(exact), exact, None)
        return list(exact.to_pylist())
    if name == "mask_rle" and pa.types.is_string(kind):
        return [None if text is None else json.loads(text) for text in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_boolean(kind):
        return values
    return [_json_value(value) for value in values]


def _json_value(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case dict():
            return {str(key): _json_value(item) for key, item in value.items()}
        case list() | tuple():
            return [_json_value(item) for item in value]
        case _:
            return str(value)


def _csv_values(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    if pa.types.is_nested(column.type) or pa.types.is_interval(column.type):
        values = map(_json_value, column.to_pylist())
        return pa.array([None if value is None else json.dumps(value) for value in values])
    return column


def _readable(value: Any) -> str:
    match value:
        case None:
            return "–"
        case float():
            return f"{value:.4g}" if abs(value) < 100 else f"{value:.2f}".rstrip("0").rstrip(".")
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


@contextmanager
def _text(file: BinaryIO) -> Iterator[TextIO]:
    """A UTF-8 text wrapper of a binary file, which is not closed."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="\n", write_through=True)
    try:
        yield text
        text.flush()
    finally:
        text.detach()
