"""Rows of a table that a person or a spreadsheet wrote: CSV or Parquet.

Case of headings, spaces around headings and values, and brackets around units (`Depth (m)`,
`Pixel size [µm]`) are ignored. A CSV file may have semicolons or tabs instead of commas, and
decimal commas with them. Its text is UTF-8, or UTF-16 with a byte order mark.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.errors import McnError
from mcn.io.objects import filesystem_of, one_line
from mcn.sources.listing import BATCH
from mcn.sources.path_pattern import SourceError

_DELIMITERS: Final = (",", ";", "\t")

PickColumns = Callable[[Sequence[str]], Mapping[str, int]]
"""From the headings of a file to the index of each column in use, by its plain name."""


def read_table_file(
    address: str, kind: str, pick: PickColumns, numbers: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The rows of a file, with only the columns in use; CSV values stay text.

    Parameters
    ----------
    address : str
        Local path or fsspec URI of a `.csv` or `.parquet` file.
    kind : str
        What the file is, for messages, such as "manifest".
    pick : callable
        Chooses the columns (`used_columns`).
    numbers : sequence of str
        Columns in which a comma may be the decimal sign.

    Raises
    ------
    SourceError
        If the file does not exist, cannot be read, or has a row of another length.
    """
    import pyarrow.parquet as pq

    fs, path = filesystem_of(address)
    try:
        if not fs.exists(path):
            raise SourceError(f"{address}: no such {kind}; check the address")
        with fs.open(path, "rb") as file:
            if path.lower().endswith((".parquet", ".pq")):
                parquet = pq.ParquetFile(file)
                names = parquet.schema_arrow.names
                used = pick(names)
                for batch in parquet.iter_batches(BATCH, columns=[names[i] for i in used.values()]):
                    columns = [batch.column(names[i]) for i in used.values()]
                    yield pa.RecordBatch.from_arrays(columns, names=list(used))
            elif path.lower().endswith(".csv"):
                yield from _csv_batches(file, address, pick, numbers)
            else:
                raise SourceError(f"{address}: not a {kind}; name a .parquet or .csv file")
    except McnError:
        raise
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{address}: is not text in UTF-8 ({one_line(error)}); save it as CSV UTF-8"
        ) from error
    except Exception as error:
        raise SourceError(
            f"{address}: cannot be read as a {kind} ({one_line(error)}); check the file"
        ) from error


def used_columns(
    names: Sequence[str],
    headings: Mapping[str, str],
    required: Sequence[str],
    address: str,
    kind: str,
) -> dict[str, int]:
    """Index of each column in use, by its plain name.

    Parameters
    ----------
    names : sequence of str
        Headings of the file.
    headings : mapping of str to str
        Plain heading (`plain_name`) → name of the column.
    required : sequence of str
        Columns that must be there.
    address, kind : str
        Name and kind of the file, for messages.

    Raises
    ------
    SourceError
        For a column that is missing or there twice.
    """
    used: dict[str, int] = {}
    for i, name in enumerate(names):
        column = headings.get(plain_name(name))
        if column in used:
            raise SourceError(
                f"{address}: columns {names[used[column]]!r} and {name!r} are the same; "
                "leave one out"
            )
        if column is not None:
            used[column] = i
    if missing := [name for name in required if name not in used]:
        raise SourceError(
            f"{address}: no column {', '.join(missing)} (it has {', '.join(names)}); "
            f"a {kind} needs {', '.join(required)}"
        )
    return used


def plain_name(name: str) -> str:
    """A heading without case, units' brackets and spaces.

    Examples
    --------
    >>> plain_name(" Depth (m)"), plain_name("Pixel size µm")
    ('depth_m', 'pixel_size_um')
    """
    plain = unicodedata.normalize("NFKC", name.strip().strip("\ufeff\"'")).lower()
    return re.sub(r"[\s,()\[\]-]+", "_", plain.replace("μ", "u")).strip("_")


def typed_column(
    batch: pa.RecordBatch,
    name: str,
    to: pa.DataType,
    bad_row: Callable[[int, object], McnError],
) -> pa.Array:
    """A column of a batch as another type; nulls for empty text, and if there is no such column.

    Parameters
    ----------
    batch : pa.RecordBatch
    name : str
    to : pa.DataType
    bad_row : callable
        From the number of a row in the batch, from 1, and its value to the error to raise.
    """
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, to)
    values = batch.column(name)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = pc.utf8_trim_whitespace(values)
        values = pc.if_else(pc.equal(values, ""), pa.scalar(None, values.type), values)
    try:
        return values.cast(to)
    except pa.ArrowException:
        for row, value in enumerate(values.to_pylist(), start=1):
            try:
                pa.scalar(value).cast(to)
            except pa.ArrowException:
                raise bad_row(row, value) from None
        raise


def _csv_batches(
    file: IO[bytes], address: str, pick: PickColumns, numbers: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Rows of a CSV file, with every column read as text.

    Wells such as 007 thus keep their zeros. Uses Python's `csv`, because other readers reject
    quotes after a space.
    """
    is_utf_16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    file.seek(0)
    text = io.TextIOWrapper(file, "utf-16" if is_utf_16 else "utf-8-sig", newline="")
    head = next((line for line in text if line.strip()), "")
    if not head:
        raise SourceError(f"{address}: is empty; write a line of headings, and the rows below it")
    if "\0" in head:  # UTF-16 without a byte order mark, or no text.
        raise SourceError(f"{address}: is not text in UTF-8; save it as CSV UTF-8")
    delimiter = max(_DELIMITERS, key=head.count)
    rows = csv.reader(chain([head], text), delimiter=delimiter, skipinitialspace=True)
    names = next(rows, [])
    used = pick(names)
    row_number = 0
    while lines := list(islice((row for row in rows if any(map(str.strip, row))), BATCH)):
        columns: dict[str, list[str | None]] = {name: [] for name in used}
        for row in lines:
            row_number += 1
            if len(row) < len(names) or any(map(str.strip, row[len(names) :])):
                raise SourceError(
                    f"{address}: row {row_number}: has {len(row)} cells instead of "
                    f"{len(names)}; write one for each column"
                )
            for name, i in used.items():
                if "\0" in row[i]:
                    raise SourceError(
                        f"{address}: row {row_number}: {name} has a NUL character; save the file "
                        "as CSV UTF-8"
                    )
                is_decimal = delimiter != "," and name in numbers
                columns[name].append(_cell(row[i], is_decimal))
        yield pa.RecordBatch.from_pydict(
            columns, schema=pa.schema([(name, pa.string()) for name in used])
        )


def _cell(text: str, is_decimal: bool) -> str | None:
    cell = text.strip()
    if is_decimal:
        # Spreadsheets use semicolons between cells if the decimal sign is a comma.
        cell = cell.replace(",", ".")
    return cell or None
