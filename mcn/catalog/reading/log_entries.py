"""One entry of a Delta log applied to a table's list of files.

`DeltaTable.update_incremental` lists all files of the table again after each commit: half a second
for 50,000 files. A commit of a scan names a few of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from mcn.catalog.active_files import TableSnapshot, file_schema
from mcn.catalog.wells import plain_well

_KNOWN: Final = {"add", "remove", "commitInfo", "txn"}


def apply_entry(
    snapshot: TableSnapshot, version: int, lines: Sequence[Mapping[str, Any]]
) -> TableSnapshot | None:
    """The snapshot after one more entry of the log.

    Parameters
    ----------
    snapshot : TableSnapshot
        The version before it.
    version : int
    lines : sequence of mapping
        The entry's actions, checked.

    Returns
    -------
    TableSnapshot or None
        None if the entry contains more than this function knows, such as new columns: the log
        must then be loaded by `deltalake`.
    """
    if any(line.keys() - _KNOWN for line in lines):
        return None
    added = [line["add"] for line in lines if "add" in line]
    gone: dict[str, list[str]] = {}
    for line in lines:
        if remove := line.get("remove"):
            well = (remove.get("partitionValues") or {}).get("well")
            if well is None:
                return None
            gone.setdefault(plain_well(well), []).append(remove["path"])
    if any(file.get("deletionVector") for file in added):
        return None
    return snapshot.changed(version, _file_table(snapshot.name, added), gone)


def committed_at(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """When an entry was committed, in seconds since 1970; None if it does not say so."""
    info: Mapping[str, Any] = next(
        (line["commitInfo"] for line in lines if "commitInfo" in line), {}
    )
    stamp = info.get("timestamp")
    return None if stamp is None else float(stamp) / 1000


def _file_table(name: str, added: Sequence[Mapping[str, Any]]) -> pa.Table:
    schema = file_schema(name)
    statistics = [json.loads(file.get("stats") or "{}") for file in added]
    columns: dict[str, list[Any]] = {
        "path": [file["path"] for file in added],
        "size_bytes": [file["size"] for file in added],
        "modification_time": [file["modificationTime"] for file in added],
        "num_records": [stats.get("numRecords") for stats in statistics],
        "stored_well": [file["partitionValues"]["well"] for file in added],
    }
    kinds = {"null_count": "nullCount", "min": "minValues", "max": "maxValues"}
    for field in schema:
        prefix, _, column = field.name.partition(".")
        if prefix in kinds:
            values = [stats.get(kinds[prefix], {}).get(column) for stats in statistics]
            if pa.types.is_timestamp(field.type):
                values = [value and datetime.fromisoformat(value) for value in values]
            columns[field.name] = values
        elif prefix == "partition":
            values = [file["partitionValues"][column] for file in added]
            convert = plain_well if column == "well" else float
            columns[field.name] = [convert(value) for value in values]
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema})
