"""The table `wells` of a catalogue: a third Delta table, with one row per well.

It is small, so each import writes it anew as one data file, and the log keeps the versions before.
Its file carries the same digests as those of the other tables. A catalogue without the table, as
older versions wrote it, has no known wells; the first import creates the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from mcn.catalog.data_files import DataFile, write_part
from mcn.catalog.integrity.damage import fault_of_bytes
from mcn.catalog.integrity.delta_log import open_table, sealed
from mcn.catalog.reading.versions import version_at
from mcn.catalog.storage import (
    CatalogError,
    CatalogStorageError,
    explained,
    log_options,
    retry_conflict,
    storage_trouble,
)
from mcn.catalog.wells import plain_well
from mcn.catalog.wells_table.wells_file import HEADER, read_wells_file
from mcn.crystals import required
from mcn.io.objects import fetch

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

NAME: Final = "wells"
_CURE: Final = "restore it from a backup, or delete the folder wells and import the wells again"

_TOP: Final = pa.struct([required("formation", pa.string()), required("depth_m", pa.float64())])

WELLS: Final[pa.Schema] = pa.schema(
    [
        required("well", pa.string()),
        pa.field("name", pa.string()),
        pa.field("uwi", pa.string()),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
        pa.field("operator", pa.string()),
        pa.field("datum", pa.string()),
        pa.field("tops", pa.list_(pa.field("element", _TOP, nullable=False))),
        required("imported_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""Columns of `wells`: `well` as in the other tables, coordinates in degrees of WGS 84, the datum
that depths are measured from, and tops of formations downwards, at measured depths in metres."""

TOPS: Final[pa.Schema] = pa.schema(
    [
        required("well", pa.string()),
        required("formation", pa.string()),
        required("depth_m", pa.float64()),
        pa.field("base_m", pa.float64()),
    ]
)
"""Columns of `read_tops`: a formation reaches from its top to the next one; the lowest is open."""


@dataclass(frozen=True)
class ImportedWells:
    """Result of `import_wells`.

    Parameters
    ----------
    wells : int
        Number of wells in the files.
    tops : int
        Number of tops in the files.
    total : int
        Number of wells in the table now.
    without_tiles : list of str
        Wells of the files that have no tiles in the catalogue.
    """

    wells: int
    tops: int
    total: int
    without_tiles: list[str]


def read_wells(catalog: Catalog) -> pa.Table:
    """What is known about wells, sorted by `well`; of a catalogue as it was, what was known then.

    Returns
    -------
    pa.Table of schema `WELLS`
        Empty if nothing was imported.
    """
    version = None
    if catalog.until is not None:
        version = version_at(catalog, NAME, catalog.until)
        if version is None:
            return WELLS.empty_table()
    with explained(catalog.uri):
        try:
            return _rows(catalog.uri, open_table(catalog.uri, NAME, version))
        except TableNotFoundError:
            return WELLS.empty_table()


def read_tops(catalog: Catalog) -> pa.Table:
    """The tops of all formations, by well and downwards.

    Returns
    -------
    pa.Table of schema `TOPS`
    """
    return tops_of(read_wells(catalog))


def tops_of(wells: pa.Table) -> pa.Table:
    """One row per top, from rows of `WELLS`."""
    rows = []
    for row in wells.select(["well", "tops"]).to_pylist():
        tops = row["tops"] or []
        bases = [*(top["depth_m"] for top in tops[1:]), None]
        rows += [
            {"well": row["well"], **top, "base_m": base}
            for top, base in zip(tops, bases[: len(tops)], strict=True)
        ]
    return pa.Table.from_pylist(rows, TOPS)


def well_header(catalog: Catalog, well: str) -> dict[str, Any]:
    """What is known about one well: values of `HEADER` and `tops`; None where unknown."""
    wells = read_wells(catalog)
    names = [*HEADER, "tops"]
    row = wells.filter(pc.equal(wells["well"], plain_well(well)))
    return row.select(names).to_pylist()[0] if row.num_rows else dict.fromkeys(names)


def import_wells(
    catalog: Catalog, addresses: Sequence[str], *, replace: bool = False
) -> ImportedWells:
    """Add what files say about wells, in one transaction.

    A column of a file replaces what was known of its wells, and tops replace all tops of their
    wells; other wells and columns stay. Any number of processes may import at once, also during
    scans.

    Parameters
    ----------
    catalog : Catalog
    addresses : sequence of str
        Files of wells and of tops (`read_wells_file`), applied in this order.
    replace : bool
        Forget all wells that the files do not name, and what they do not say.

    Raises
    ------
    SourceError
        For a file that cannot be read or is wrong. Nothing changes then.
    CatalogError
        If two wells have the same UWI, or the storage fails.
    """
    catalog.check_present()
    contents = [read_wells_file(address) for address in addresses]
    named = {well for file in contents for well in file.headers}

    def once() -> int:
        table = _open_or_create(catalog.uri)
        known: dict[str, dict[str, Any]] = {}
        if not replace:
            known = {row["well"]: row for row in _rows(catalog.uri, table).to_pylist()}
        now = datetime.now(UTC)
        for file in contents:
            for well, header in file.headers.items():
                row = known.setdefault(well, {"well": well})
                row.update(header, imported_at=now)
            for well, tops in (file.tops or {}).items():
                known[well]["tops"] = [
                    {"formation": formation, "depth_m": depth} for formation, depth in tops
                ]
        rows = pa.Table.from_pylist([known[well] for well in sorted(known)], WELLS)
        _check_uwi(rows)
        _replace(catalog.uri, table, rows)
        return int(rows.num_rows)

    with explained(catalog.uri):
        total = retry_conflict(once)
    return ImportedWells(
        wells=len(named),
        tops=sum(len(tops) for file in contents for tops in (file.tops or {}).values()),
        total=total,
        without_tiles=sorted(named - wells_with_tiles(catalog)),
    )


def wells_with_tiles(catalog: Catalog) -> set[str]:
    """Wells that have tiles in the catalogue, failed ones included."""
    return set(catalog.snapshot().tiles.by_well)


def faults(catalog: Catalog) -> list[str]:
    """What is wrong with the table, one line each; empty if it is whole or absent."""
    try:
        read_wells(catalog)
    except CatalogStorageError as error:
        return [str(error).removeprefix(f"{catalog.uri}/")]
    return []


def vacuum(catalog: Catalog, keep_hours: int, *, dry_run: bool = False) -> list[str]:
    """Delete data files of replaced versions (see `mcn.catalog.upkeep.maintenance.vacuum`)."""
    with explained(catalog.uri):
        try:
            table = open_table(catalog.uri, NAME)
        except TableNotFoundError:
            return []
        paths = table.vacuum(
            retention_hours=keep_hours,
            dry_run=dry_run,
            enforce_retention_duration=False,
            full=True,
        )
    return [f"{NAME}/{unquote(path)}" for path in paths]


def _open_or_create(uri: str) -> DeltaTable:
    try:
        return open_table(uri, NAME)
    except TableNotFoundError:
        DeltaTable.create(
            f"{uri}/{NAME}",
            WELLS,
            mode="ignore",
            configuration={"delta.dataSkippingNumIndexedCols": "0"},
            storage_options=log_options(uri),
        )
        return open_table(uri, NAME)


def _rows(uri: str, table: DeltaTable) -> pa.Table:
    parts = [WELLS.empty_table()]
    for path in pa.table(table.get_add_actions())["path"].to_pylist():
        file = f"{NAME}/{unquote(path)}"
        try:
            data = fetch(f"{uri}/{file}")
        except OSError as error:
            raise storage_trouble(f"{uri}/{file}", error) from error
        if fault := fault_of_bytes(file, data):
            fault = f"{fault.partition(';')[0]}; {_CURE}"
            raise CatalogStorageError(f"{uri}/{file}: {fault}", "damaged")
        stored = pq.read_table(pa.BufferReader(data))
        parts.append(
            pa.table(
                [
                    stored[field.name].cast(field.type)
                    if field.name in stored.column_names
                    else pa.nulls(stored.num_rows, field.type)
                    for field in WELLS
                ],
                schema=WELLS,
            )
        )
    return pa.concat_tables(parts)


def _replace(uri: str, table: DeltaTable, rows: pa.Table) -> None:
    old = pa.table(table.get_add_actions())
    gone = [
        DataFile(NAME, unquote(path), size, 0, {}, "")
        for path, size in zip(old["path"].to_pylist(), old["size_bytes"].to_pylist(), strict=True)
    ]
    part = write_part(uri, NAME, rows, {}, "import")
    actions: list[AddAction | RemoveAction] = [
        *(file.removed() for file in gone),
        part.added(),
    ]
    # Without retries, a commit of another process in between is refused, and not overwritten.
    table.create_write_transaction(
        actions, "append", WELLS, partition_by=[], commit_properties=sealed(actions, retries=0)
    )


def _check_uwi(rows: pa.Table) -> None:
    counts = Counter(filter(None, rows["uwi"].to_pylist()))
    if doubled := [uwi for uwi, count in counts.items() if count > 1]:
        wells = rows.filter(pc.equal(rows["uwi"], doubled[0]))["well"].to_pylist()
        raise CatalogError(
            f"wells {' and '.join(map(repr, wells[:2]))} have the same UWI {doubled[0]!r}; "
            "correct one of them in the file"
        )
