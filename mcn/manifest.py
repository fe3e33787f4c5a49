"""The tiles there are to scan, listed in a file."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from mcn.objects import filesystem_of, one_line
from mcn.source import BATCH, LISTED, SourceError


def read_manifest(manifest: str, tiles: str) -> Iterator[pa.RecordBatch]:
    """Tiles listed in a manifest, as a stream in the manifest's order.

    Parameters
    ----------
    manifest : str
        Parquet or CSV file (local path or fsspec URI) with the columns uri, well, depth_m and
        optionally pixel_size_um, etag, and sidecar, the uri of a vendor's text file; other
        columns are passed over.
    tiles : str
        Folder that relative uris start in: a local path or any fsspec URI.

    Yields
    ------
    RecordBatch
        Of schema `LISTED`.

    Raises
    ------
    SourceError
        When the manifest is not there, lacks a column, lists nothing, or has a row without a
        uri, well or depth; the message names the row.
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
        raise SourceError(f"{manifest}: lists no tile; write one row a tile: uri, well, depth_m")


def _batches(manifest: str) -> Iterator[pa.RecordBatch]:
    """The manifest's own rows, only the columns that are used, text where CSV is text."""
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    fs, path = filesystem_of(manifest)
    wanted = {"uri", "well", "depth_m", "pixel_size_um", "etag", "sidecar"}
    try:
        if not fs.exists(path):
            raise SourceError(f"{manifest}: no such manifest; check the address")
        with fs.open(path, "rb") as file:
            if path.lower().endswith((".parquet", ".pq")):
                parquet = pq.ParquetFile(file)
                _need_columns(parquet.schema_arrow.names, manifest)
                columns = [name for name in parquet.schema_arrow.names if name in wanted]
                yield from parquet.iter_batches(BATCH, columns=columns)
            elif path.lower().endswith(".csv"):
                header = file.readline().decode("utf-8-sig")
                names = [name.strip().strip('"') for name in header.strip().split(",")]
                _need_columns(names, manifest)
                file.seek(0)
                # Wells such as 007 stay as written, and only an empty cell is missing.
                options = csv.ConvertOptions(
                    column_types=dict.fromkeys(wanted, pa.string()),
                    include_columns=[name for name in names if name in wanted],
                    strings_can_be_null=True,
                    null_values=[""],
                )
                reading = csv.ReadOptions(column_names=names, skip_rows=1)
                yield from csv.open_csv(file, read_options=reading, convert_options=options)
            else:
                raise SourceError(f"{manifest}: not a manifest; name a .parquet or .csv file")
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"{manifest}: cannot be read as a manifest ({one_line(error)}); check the file"
        ) from error


def _need_columns(names: list[str], manifest: str) -> None:
    missing = [name for name in ("uri", "well", "depth_m") if name not in names]
    if missing:
        raise SourceError(
            f"{manifest}: no column {', '.join(missing)} (it has {', '.join(names)}); "
            "a manifest needs uri, well, depth_m"
        )


def _checked(batch: pa.RecordBatch, manifest: str, done: int, root_uri: str) -> pa.RecordBatch:
    """Rows of `LISTED` from the manifest's own, each value checked."""
    n = batch.num_rows

    def column(name: str, to: pa.DataType) -> pa.Array:
        if name not in batch.schema.names:
            return pa.nulls(n, to)
        values = batch.column(name)
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
    check("pixel_size_um", sizes, pc.or_kleene(pc.is_null(sizes), pc.greater(sizes, 0)))
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
        "pixel_size_um": "micrometres above 0, or nothing",
    }.get(name, "a text that is not empty")
    return SourceError(f"{manifest}: row {row}: {name} is {value!r}; write {expected}")
