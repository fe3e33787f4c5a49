"""Tiles listed in a manifest file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.io.objects import filesystem_of
from mcn.pixel_limits import MAX_UM, MIN_UM
from mcn.sources.listing import LISTED
from mcn.sources.path_pattern import SourceError
from mcn.sources.table_file import plain_name, read_table_file, typed_column, used_columns

_COLUMNS: Final = ("uri", "well", "depth_m", "pixel_size_um", "etag", "sidecar")
_NUMBERS: Final = ("depth_m", "pixel_size_um")


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
    pick = partial(_used_columns, manifest=manifest)
    for batch in read_table_file(manifest, "manifest", pick, _NUMBERS):
        rows = _checked(batch, manifest, done, root_uri)
        done += batch.num_rows
        if rows.num_rows:
            yield rows
    if not done:
        raise SourceError(f"{manifest}: lists no tile; write one row per tile: uri, well, depth_m")


def _used_columns(names: Sequence[str], manifest: str) -> dict[str, int]:
    """Index of each column in use, by its plain name."""
    headings = dict(zip(_COLUMNS, _COLUMNS, strict=True))
    used = used_columns(names, headings, _COLUMNS[:3], manifest, "manifest")
    for name in names if "pixel_size_um" not in used else ():
        if re.fullmatch(r"pixel_?size(_?[a-z]{0,2}m)?", plain_name(name)):
            raise SourceError(
                f"{manifest}: column {name!r} may be in other units; name it pixel_size_um and "
                "write micrometres, or leave it out"
            )
    return used


def _checked(batch: pa.RecordBatch, manifest: str, done: int, root_uri: str) -> pa.RecordBatch:
    """Rows of `LISTED` from rows of the manifest, with each value checked."""
    bad_row = partial(_bad_row, manifest)

    def column(name: str, to: pa.DataType) -> pa.Array:
        return typed_column(batch, name, to, lambda row, value: bad_row(done + row, name, value))

    def check(name: str, values: pa.Array, good: pa.Array) -> None:
        bad = pc.invert(pc.fill_null(good, False)).to_numpy(zero_copy_only=False).nonzero()[0]
        if bad.size:
            raise bad_row(done + int(bad[0]) + 1, name, values[int(bad[0])].as_py())

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
            pa.nulls(batch.num_rows, pa.int64()),
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
