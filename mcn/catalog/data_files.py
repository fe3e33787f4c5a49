"""Data files of a catalogue: written first, committed by name later.

A part is not in the catalogue before a commit names it. So any number of processes can write
parts at once, and the files of a process that died are never visible.

Each page of a file carries a checksum, which readers compare. The footer has none in Parquet, so
the file's name carries a digest of it, which readers compare too, and one of all the file's bytes,
which `verify` compares.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction, RemoveAction

from mcn.io.objects import UNFINISHED, store

PARTITIONS: Final[Mapping[str, Sequence[str]]] = {
    "crystals": ("well", "depth_bin"),
    "tiles": ("well",),
}
_DEPTH: Final = pa.float64()
_TIME: Final = pa.timestamp("us", tz="UTC")
STATISTICS: Final[Mapping[str, Mapping[str, pa.DataType]]] = {
    "crystals": {"depth_m": _DEPTH, "equivalent_diameter_um": pa.float32(), "scanned_at": _TIME},
    "tiles": {"depth_m": _DEPTH, "scanned_at": _TIME},
    "wells": {},
    "corrections": {"depth_m": _DEPTH, "scanned_at": _TIME},
}
"""Columns with their minimum and maximum for each file in the log, and their types."""

ROW_GROUP_ROWS: Final = 2000
"""Rows that are read together: a few metres of a well, about 200 kB with all columns."""

_ORDER: Final = {
    "crystals": ("depth_m", "crystal_id"),
    "tiles": ("depth_m", "tile_id"),
    "wells": ("well",),
    "corrections": ("depth_m", "corrected_at"),
}
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True)
class DataFile:
    """A data file that a commit may name.

    Parameters
    ----------
    table : {"crystals", "tiles", "wells", "corrections"}
    path : str
        Below the table's folder.
    size, rows : int
        Bytes and rows of the file.
    partition : dict
        Partition column → value, as the log writes it.
    statistics : str
        Rows and ranges of the file, as the log writes them (JSON).
    """

    table: str
    path: str
    size: int
    rows: int
    partition: Mapping[str, str]
    statistics: str

    def added(self, *, data_change: bool = True) -> AddAction:
        """Log action that adds the file; `data_change` is False for rows that existed before."""
        now = int(time.time() * 1000)
        return AddAction(self.path, self.size, self.partition, now, data_change, self.statistics)

    def removed(self) -> RemoveAction:
        """Log action that removes the file."""
        now = int(time.time() * 1000)
        return RemoveAction(self.path, True, now, self.size, dict(self.partition))


def write_data_files(uri: str, tables: Mapping[str, pa.Table], label: str) -> list[DataFile]:
    """Write rows as data files, one for each partition.

    Parameters
    ----------
    uri : str
        The catalogue's address.
    tables : mapping of str to Table
        Rows of `crystals` and `tiles`, in their schemas.
    label : str
        Name of the writer, part of the files' names (see `label_of`).
    """
    return [
        write_part(uri, name, rows, partition, label)
        for name, table in tables.items()
        for partition, rows in _partitions(table, PARTITIONS[name])
    ]


def label_of(path: str) -> str | None:
    """The label of the process that wrote a part; None for other files."""
    name = path.rpartition("/")[2].removesuffix(UNFINISHED)
    is_part = name.startswith(_PREFIX) and name.endswith(_ENDING)
    return name[len(_PREFIX) : -len(_ENDING)].rpartition("-")[0] or None if is_part else None


def digest_in_name(path: str) -> str | None:
    """The digest in a part's name; None for files of other writers and older versions."""
    match = _DIGEST_IN_NAME.search(path)
    return match and match[1]


def footer_digest_in_name(path: str) -> str | None:
    """The digest of the footer in a part's name; None as in `digest_in_name`."""
    match = _FOOTER_DIGEST_IN_NAME.search(path)
    return match and match[1]


def digest_of(data: bytes) -> str:
    """Digest of a file's bytes, as used in its name."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def footer_digest_of(footer: pq.FileMetaData) -> str:
    """Digest of a file's footer, as used in its name.

    It is of the footer as Arrow writes it again, so that no byte is read twice. Another version of
    Arrow may write it otherwise: a digest that differs alone does not prove damage.
    """
    written = io.BytesIO()
    footer.write_metadata_file(written)
    return hashlib.blake2b(written.getvalue(), digest_size=8).hexdigest()


_PREFIX: Final = "part-"
_ENDING: Final = ".parquet"
_DIGEST_IN_NAME: Final = re.compile(r"\.([0-9a-f]{32})\.parquet$")
_FOOTER_DIGEST_IN_NAME: Final = re.compile(r"\.([0-9a-f]{16})\.[0-9a-f]{32}\.parquet$")


def write_part(
    uri: str, name: str, rows: pa.Table, partition: Mapping[str, str], label: str
) -> DataFile:
    """Write rows of one partition, without its columns, as a sorted data file."""
    rows = rows.sort_by([(column, "ascending") for column in _ORDER[name]])
    file = pa.BufferOutputStream()
    pq.write_table(
        rows, file, compression="zstd", row_group_size=ROW_GROUP_ROWS, write_page_checksum=True
    )
    data = file.getvalue().to_pybytes()
    folders = [f"{key}={quote(value, safe='')}" for key, value in partition.items()]
    digests = f"{footer_digest_of(pq.read_metadata(pa.BufferReader(data)))}.{digest_of(data)}"
    path = "/".join([*folders, f"{_PREFIX}{label}-{uuid.uuid4().hex}.{digests}{_ENDING}"])
    store(f"{uri}/{name}/{path}", data)
    return DataFile(name, path, len(data), rows.num_rows, partition, _statistics(name, rows))


def _partitions(
    rows: pa.Table, columns: Sequence[str]
) -> Iterator[tuple[dict[str, str], pa.Table]]:
    for values in rows.select(columns).group_by(columns).aggregate([]).to_pylist():
        in_partition = pc.scalar(True)
        for column, value in values.items():
            in_partition = in_partition & (pc.field(column) == value)
        yield (
            {column: in_folder(value) for column, value in values.items()},
            rows.filter(in_partition).drop_columns(list(columns)),
        )


def in_folder(value: str | float) -> str:
    """A partition's value as text; whole depths without their fraction, as in deltalake."""
    return value if isinstance(value, str) else repr(value).removesuffix(".0")


def _statistics(name: str, rows: pa.Table) -> str:
    lowest, highest, nulls = {}, {}, {}
    for column in STATISTICS[name]:
        ends = pc.min_max(rows[column]).as_py()
        nulls[column] = rows[column].null_count
        if ends["min"] is not None:
            lowest[column] = _in_log(ends["min"])
            # The log stores milliseconds, so the maximum is raised to include all values.
            high = ends["max"]
            highest[column] = _in_log(high + _MILLISECOND if isinstance(high, datetime) else high)
    return json.dumps(
        {
            "numRecords": rows.num_rows,
            "minValues": lowest,
            "maxValues": highest,
            "nullCount": nulls,
        }
    )


def _in_log(value: Any) -> Any:
    if isinstance(value, datetime):
        stamp = value.astimezone(UTC).isoformat(timespec="milliseconds")
        return stamp.replace("+00:00", "Z")
    return value
