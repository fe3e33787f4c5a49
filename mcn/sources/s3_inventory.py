"""Tiles listed in an Amazon S3 Inventory report.

References
----------
Amazon Simple Storage Service User Guide, *Cataloging and analyzing your data with S3 Inventory*:
the report's `manifest.json`, and its CSV, ORC and Parquet files.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, unquote_plus

import pyarrow as pa
import pyarrow.compute as pc

from mcn.io.objects import fetch, filesystem_of, one_line
from mcn.io.scratch import scratch_database
from mcn.sources.left_out import LeftOut
from mcn.sources.listing import BATCH, LISTED
from mcn.sources.path_pattern import DEFAULT_PATTERN, SourceError, compile_pattern
from mcn.sources.sidecar import sidecar_sql

if TYPE_CHECKING:
    import duckdb

logger = logging.getLogger(__name__)

_OBJECTS: Final = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("well", pa.string()),
        pa.field("depth_m", pa.float64()),
    ]
)
"""Objects below the folder of tiles; well and depth are null if the pattern does not match."""

_TILES: Final = f"""
    {sidecar_sql("objects")};

    CREATE TEMP TABLE tiles AS
    SELECT objects.*, preferred.sidecar FROM objects
    ANTI JOIN sidecars USING (path)
    LEFT JOIN preferred ON preferred.image = objects.path
    WHERE objects.depth_m IS NOT NULL
"""


@dataclass(frozen=True)
class _Report:
    bucket: str
    form: str
    columns: tuple[str, ...]
    files: tuple[str, ...]


def is_inventory(manifest: str) -> bool:
    """Whether an address is that of an inventory report's manifest."""
    return manifest.rpartition("/")[2] == "manifest.json"


def read_inventory(
    manifest: str, tiles: str, pattern: str = DEFAULT_PATTERN
) -> Iterator[pa.RecordBatch]:
    """Tiles that an S3 Inventory report lists below a folder, as a stream.

    Tiles and sidecars are recognised as in `mcn.sources.listing.find_tiles`. Only the latest
    version of an object counts.

    Parameters
    ----------
    manifest : str
        The report's `manifest.json`, at its original address or in a copy of the report's folders.
    tiles : str
        Folder of tiles in the bucket of the report, `s3://BUCKET/FOLDER`.
    pattern : str
        Position of well and depth in an object's path below `tiles`.

    Yields
    ------
    RecordBatch
        Of schema `LISTED`.

    Raises
    ------
    SourceError
        If the file is not an inventory report, is of another bucket, or lists no tile there.
    """
    matcher = compile_pattern(pattern)
    report = _report(manifest)
    root = tiles.removeprefix("s3://").rstrip("/") + "/"
    if not tiles.startswith("s3://") or not root.startswith(f"{report.bucket}/"):
        raise SourceError(
            f"{manifest}: is an inventory of s3://{report.bucket}, which does not contain {tiles}; "
            "name a folder of tiles in that bucket"
        )
    left_out = LeftOut()
    with scratch_database() as database:
        objects = pa.RecordBatchReader.from_batches(
            _OBJECTS, _objects(report, manifest, root, matcher, left_out)
        )
        database.register("listed", objects)
        database.execute("CREATE TEMP TABLE objects AS SELECT * FROM listed")
        left_out.report(manifest, logger)
        database.execute(_TILES)
        if not _count(database, "tiles"):
            raise SourceError(
                f"{manifest}: none of {_count(database, 'objects')} objects below {tiles} matches "
                f"{pattern!r}; name the folder the pattern starts in, or give another pattern"
            )
        tile_rows = database.sql(
            "SELECT 's3://' || path AS uri, etag, bytes, well, depth_m, "
            "NULL::DOUBLE AS pixel_size_um, 's3://' || sidecar AS sidecar FROM tiles"
        )
        for batch in tile_rows.to_arrow_reader(BATCH):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=LISTED)


def _count(database: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(database.sql(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def _report(manifest: str) -> _Report:
    try:
        document = json.loads(fetch(manifest, most=2**26))
        form = document["fileFormat"].upper()
        schema = document["fileSchema"]
        names = schema.split(",") if form == "CSV" else re.findall(r"(\w+)[^;,:]*[;:]", schema)
        return _Report(
            bucket=document["sourceBucket"],
            form=form,
            columns=tuple(_plain(name) for name in names),
            files=tuple(
                _place_of(file["key"], manifest, document["destinationBucket"])
                for file in document["files"]
            ),
        )
    except FileNotFoundError:
        raise SourceError(f"{manifest}: no such manifest; check the address") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{manifest}: is not the manifest of an S3 Inventory report ({one_line(error)}); "
            "name the manifest.json of a report, or a .parquet or .csv list of tiles"
        ) from error


def _place_of(key: str, manifest: str, destination: str) -> str:
    """Address of a file of the report: in its bucket, or in the folder `data` of a copy."""
    if manifest.startswith("s3://"):
        return f"s3://{destination.removeprefix('arn:aws:s3:::')}/{key}"
    return f"{manifest.rsplit('/', 2)[0]}/data/{key.rpartition('/')[2]}"


def _objects(
    report: _Report, manifest: str, root: str, matcher: re.Pattern[str], left_out: LeftOut
) -> Iterator[pa.RecordBatch]:
    for uri in report.files:
        fs, path = filesystem_of(uri)
        try:
            with fs.open(path, "rb") as file:
                for batch in _rows(report, file, path):
                    yield _below(batch, root, matcher, left_out, encoded=report.form == "CSV")
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(
                f"{manifest}: {uri} cannot be read ({one_line(error)}); check the report"
            ) from error


def _rows(report: _Report, file: Any, path: str) -> Iterator[pa.RecordBatch]:
    """Rows of one of the report's files; column names are normalised by `_plain`."""
    if report.form == "CSV":
        from pyarrow import csv

        packed = "gzip" if path.endswith(".gz") else None
        yield from csv.open_csv(
            pa.input_stream(file, compression=packed),
            read_options=csv.ReadOptions(column_names=list(report.columns)),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(report.columns, pa.string())
            ),
        )
        return
    if report.form == "PARQUET":
        import pyarrow.parquet as pq

        batches: Iterator[pa.RecordBatch] = pq.ParquetFile(file).iter_batches()
    elif report.form == "ORC":
        from pyarrow import orc

        stripes = orc.ORCFile(file)
        batches = (stripes.read_stripe(number) for number in range(stripes.nstripes))
    else:
        raise SourceError(f"{path}: {report.form} is not a format of S3 Inventory reports")
    for batch in batches:
        yield batch.rename_columns([_plain(name) for name in batch.schema.names])


def _plain(name: str) -> str:
    """Normalise a column name: `IsLatest`, `is_latest` and ` isLatest ` are the same."""
    return name.strip().replace("_", "").lower()


def _below(
    batch: pa.RecordBatch,
    root: str,
    matcher: re.Pattern[str],
    left_out: LeftOut,
    encoded: bool,
) -> pa.RecordBatch:
    """The latest versions of objects below the folder of tiles, as `_OBJECTS`."""

    def column(name: str, to: pa.DataType) -> pa.Array:
        is_present = name in batch.schema.names
        return batch[name].cast(to) if is_present else pa.nulls(batch.num_rows, to)

    keys = column("key", pa.string())
    if encoded and pc.any(pc.match_substring_regex(keys, "[%+]")).as_py():
        keys = pa.array([unquote_plus(key) for key in keys.to_pylist()], pa.string())
    paths = pc.binary_join_element_wise(column("bucket", pa.string()), keys, "/")
    below = pc.utf8_slice_codeunits(paths, len(root))
    is_kept = pc.and_(pc.starts_with(paths, root), pc.invert(pc.ends_with(paths, "/")))
    is_kept = pc.and_(is_kept, pc.fill_null(column("islatest", pa.bool_()), True))
    is_kept = pc.and_(is_kept, pc.invert(pc.fill_null(column("isdeletemarker", pa.bool_()), False)))
    is_kept = pc.fill_null(is_kept, False)
    is_left_out = left_out.mask(pc.filter(below, is_kept))
    is_kept = pc.replace_with_mask(is_kept, is_kept, pc.invert(is_left_out))
    below = pc.utf8_normalize(below, "NFC")
    fields = pc.extract_regex(below, f"^(?:{matcher.pattern})$")
    depths = pc.struct_field(fields, "depth_m").cast(pa.float64())
    wells = _decoded(pc.struct_field(fields, "well"))
    rows = [paths, column("size", pa.int64()), column("etag", pa.string()), wells, depths]
    return pa.RecordBatch.from_arrays(rows, schema=_OBJECTS).filter(is_kept)


def _decoded(wells: pa.Array) -> pa.Array:
    coded = wells.dictionary_encode()
    names = pa.array(
        [name if name is None else unquote(name) for name in coded.dictionary.to_pylist()],
        pa.string(),
    )
    return names.take(coded.indices)
