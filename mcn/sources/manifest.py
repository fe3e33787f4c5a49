"""Tiles listed in a manifest file."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from itertools import chain, islice
from typing import IO, Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.io.objects import filesystem_of, one_line
from mcn.pixel_limits import MAX_UM, MIN_UM
from mcn.sources.listing import BATCH, LISTED
from mcn.sources.path_pattern import SourceError

_COLUMNS: Final = ("uri", "well", "depth_m", "pixel_size_um", "etag", "sidecar")
_NUMBERS: Final = ("depth_m", "pixel_size_um")
_DELIMITERS: Final = (",", ";", "\t")


def read_manifest(manifest: str, tiles: str) -> Iterator[pa.RecordBatch]:
    """Tiles listed in a manifest, as a stream in the manifest's order.

    Parameters
    ----------
    manifest : str
        Parquet or CSV file (local path or fsspec URI) with the columns uri, well, depth_m and
        optionally pixel_size_um, etag, and sidecar, the uri of a vendor's text file; other
        columns are ignored. Case of names, spaces around names and values, and brackets around
        units (`Depth (m)`, `Pixel size [µm]`) are ignored; a CSV file may have semicolons or
        tabs instead of commas. Its text is UTF-8, or UTF-16 with a byte order mark.
    tiles : str
        Folder that relative uris start in: a local path or any fsspec URI.

    Yields
    ------
    RecordBatch
        Of schema `LISTED`.

    Raises
    ------
    SourceError
        If the manifest does not exist, lacks a column, is empty, or has a row without uri, well
        or depth; the message names the row.
    """
    root_fs, root = filesystem_of(tiles)
    root_uri = root_fs.unstrip_protocol(root).rstrip("/")
    done = 0
    for batch in _batches(manifest):
        rows = _checked(batch, manifest, done, root_uri)
        done += batch.num_rows
        if rows.num_rows:
            yield rows
    if not done:
        raise SourceError(f"{manifest}: lists no tile; write one row per tile: uri, well, depth_m")


def _batches(manifest: str) -> Iterator[pa.RecordBatch]:
    """The rows of the manifest, with only the columns in use; CSV values stay text."""
    import pyarrow.parquet as pq

    fs, path = filesystem_of(manifest)
    try:
        if not fs.exists(path):
            raise SourceError(f"{manifest}: no such manifest; check the address")
        with fs.open(path, "rb") as file:
            if path.lower().endswith((".parquet", ".pq")):
                parquet = pq.ParquetFile(file)
                names = parquet.schema_arrow.names
                used = _used_columns(names, manifest)
                for batch in parquet.iter_batches(BATCH, columns=[names[i] for i in used.values()]):
                    columns = [batch.column(names[i]) for i in used.values()]
                    yield pa.RecordBatch.from_arrays(columns, names=list(used))
            elif path.lower().endswith(".csv"):
                yield from _csv_batches(file, manifest)
            else:
                raise SourceError(f"{manifest}: not a manifest; name a .parquet or .csv file")
    except SourceError:
        raise
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{manifest}: is not text in UTF-8 ({one_line(error)}); save it as CSV UTF-8"
        ) from error
    except Exception as error:
        raise SourceError(
            f"{manifest}: cannot be read as a manifest ({one_line(error)}); check the file"
        ) from error


def _csv_batches(file: IO[bytes], manifest: str) -> Iterator[pa.RecordBatch]:
    """Rows of a CSV file, with every column read as text.

    Wells such as 007 thus keep their zeros. Uses Python's `csv`, because other readers reject
    quotes after a space.
    """
    is_utf_16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    file.seek(0)
    text = io.TextIOWrapper(file, "utf-16" if is_utf_16 else "utf-8-sig", newline="")
    head = next((line for line in text if line.strip()), "")
    delimiter = max(_DELIMITERS, key=head.count)
    rows = csv.reader(chain([head], text), delimiter=delimiter, skipinitialspace=True)
    names = next(rows, [])
    used = _used_columns(names, manifest)
    row_number = 0
    while lines := list(islice((row for row in rows if any(map(str.strip, row))), BATCH)):
        columns: dict[str, list[str | None]] = {name: [] for name in used}
        for row in lines:
            row_number += 1
            if len(row) < len(names) or any(map(str.strip, row[len(names) :])):
                raise SourceError(
                    f"{manifest}: row {row_number}: has {len(row)} cells instead of "
                    f"{len(names)}; write one for each column"
                )
            for name, i in used.items():
                columns[name].append(_cell(name, row[i], delimiter))
        yield pa.RecordBatch.from_pydict(
            columns, schema=pa.schema([(name, pa.string()) for name in used])
        )


def _cell(name: str, text: str, delimiter: str) -> str | None:
    cell = text.strip()
    if delimiter != "," and name in _NUMBERS:
        # Spreadsheets use semicolons between cells if the decimal sign is a comma.
        cell = cell.replace(",", ".")
    return cell or None


def _used_columns(names: list[str], manifest: str) -> dict[str, int]:
    """Index of each column in use, by its plain name."""
    used: dict[str, int] = {}
    for i, name in enumerate(names):
        plain = _plain_name(name)
        if plain in _COLUMNS and plain in used:
            raise SourceError(
                f"{manifest}: columns {names[used[plain]]!r} and {name!r} are the same; "
                "leave one out"
            )
        if plain in _COLUMNS:
            used[plain] = i
    missing = [name for name in _COLUMNS[:3] if name not in used]
    if missing:
        raise SourceError(
            f"{manifest}: no column {', '.join(missing)} (it has {', '.join(names)}); "
            "a manifest needs uri, well, depth_m"
        )
    for name in names if "pixel_size_um" not in used else ():
        if re.fullmatch(r"pixel_?size(_?[a-z]{0,2}m)?", _plain_name(name)):
            raise SourceError(
                f"{manifest}: column {name!r} may be in other units; name it pixel_size_um and "
                "write micrometres, or leave it out"
            )
    return used


def _plain_name(name: str) -> str:
    """A heading as in `_COLUMNS`: ` Depth (m)` is `depth_m`, `Pixel size µm` is `pixel_size_um`."""
    plain = unicodedata.normalize("NFKC", name.strip().strip("\ufeff\"'")).lower()
    return re.sub(r"[\s,()\[\]-]+", "_", plain.replace("μ", "u")).strip("_")


def _checked(batch: pa.RecordBatch, manifest: str, done: int, root_uri: str) -> pa.RecordBatch:
    """Rows of `LISTED` from rows of the manifest, with each value checked."""
    n = batch.num_rows

    def column(name: str, to: pa.DataType) -> pa.Array:
        if name not in batch.schema.names:
            return pa.nulls(n, to)
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
            for row, value in enumerate(values.to_pylist(), start=done + 1):
                try:
                    pa.scalar(value).cast(to)
                except pa.ArrowException:
                    raise _bad_row(manifest, row, name, value) from None
            raise

    def check(name: str, values: pa.Array, good: pa.Array) -> None:
        bad = pc.invert(pc.fill_null(good, False)).to_numpy(zero_copy_only=False).nonzero()[0]
        if bad.size:
            raise _bad_row(manifest, done + int(bad[0]) + 1, name, values[int(bad[0])].as_py())

    uris, wells = column("uri", pa.string()), column("well", pa.string())
    depths = column("depth_m", pa.float64())
    sizes = column("pixel_size_um", pa.float64())
    check("uri", uris, pc.greater(pc.utf8_length(uris), 0))
    check("well", wells, pc.greater(pc.utf8_length(wells), 0))
    check("depth_m", depths, pc.is_finite(depths))
    possible = pc.and_(pc.greater_equal(sizes, MIN_UM), pc.less_equal(sizes, MAX_UM))
    check("pixel_size_um", sizes, pc.or_kleene(pc.is_null(sizes), possible))
    uris = _absolute(uris, root_uri)
    return pa.RecordBatch.from_arrays(
        [
            uris,
            column("etag", pa.string()),
            pa.nulls(n, pa.int64()),
            wells,
            depths,
            sizes,
            _absolute(column("sidecar", pa.string()), root_uri),
        ],
        schema=LISTED,
    )


def _absolute(uris: pa.Array, root_uri: str) -> pa.Array:
    rooted = pc.match_substring_regex(uris, r"^([A-Za-z][A-Za-z0-9+.-]*://|/)")
    uris = pc.if_else(rooted, uris, pc.binary_join_element_wise(root_uri, uris, "/"))
    local = pc.starts_with(uris, "/")
    return pc.if_else(local, pc.binary_join_element_wise("file://", uris, ""), uris)


def _bad_row(manifest: str, row: int, name: str, value: object) -> SourceError:
    expected = {
        "depth_m": "a depth in metres such as 1234.5",
        "pixel_size_um": f"micrometres from {MIN_UM:g} to {MAX_UM:g}, or nothing",
    }.get(name, "a non-empty text")
    return SourceError(f"{manifest}: row {row}: {name} is {value!r}; write {expected}")
