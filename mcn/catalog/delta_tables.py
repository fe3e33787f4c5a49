"""The two Delta tables of a catalogue: opening, checking and creating them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.schema import Field as DeltaField

from mcn.catalog.data_files import PARTITIONS, STATISTICS
from mcn.catalog.integrity.delta_log import open_table
from mcn.catalog.schema import ADDED_LATER, TILES, crystals_schema
from mcn.catalog.storage import CatalogError, CatalogStorageError, explained, log_options
from mcn.io.objects import filesystem_of

CATALOG_FORMAT: Final = 1
"""Version of the catalogue's layout; catalogues of newer versions are not opened."""


class NoCatalogError(CatalogError):
    """There is no catalogue at this address."""


def open_delta_table(uri: str, name: str, version: int | None = None) -> DeltaTable:
    """A table of a catalogue at its latest version or another, or an error that says why not."""
    with explained(uri):
        try:
            return open_table(uri, name, version)
        except TableNotFoundError:
            if not uri.startswith("s3://") and os.path.isdir(uri):
                os.listdir(uri)  # Raises the system's error if it is not permitted.
            (other,) = {*PARTITIONS} - {name}
            with suppress(TableNotFoundError):
                open_table(uri, other)
                raise CatalogStorageError(
                    f"{uri}: its table {name} is missing, but {other} exists; restore it "
                    "from a backup, or scan again if the catalogue was never filled",
                    "missing",
                ) from None
            raise NoCatalogError(
                f"{uri}: there is no crystal catalogue; check the address, "
                "or create one with `mcn scan TILES CATALOG`"
            ) from None


def check_table(uri: str, table: DeltaTable, schema: pa.Schema) -> None:
    """Refuse a table that is not of a catalogue that this version reads."""
    settings = table.metadata().configuration
    columns = {field.name for field in table.schema().fields}
    known = {*schema.names} - ADDED_LATER
    if "mcn.format" not in settings or not columns.issuperset(known):
        raise CatalogError(
            f"{uri}: its Delta tables are not a crystal catalogue; choose another folder"
        )
    if int(settings["mcn.format"]) > CATALOG_FORMAT:
        raise CatalogError(
            f"{uri}: written by a newer mcn (catalogue format "
            f"{settings['mcn.format']}, this one reads {CATALOG_FORMAT}); upgrade mcn"
        )


def grow(table: DeltaTable, schema: pa.Schema) -> None:
    """Add the columns that a table written by an older version does not have."""
    existing = {field.name for field in table.schema().fields}
    if missing := [DeltaField.from_arrow(field) for field in schema if field.name not in existing]:
        table.alter.add_columns(missing)


def is_catalog(uri: str) -> bool:
    """Whether both tables exist."""
    try:
        # `DeltaTable.is_deltatable` would hold the interpreter's lock while it waits.
        for name in PARTITIONS:
            open_table(uri, name)
    except TableNotFoundError:
        return False
    return True


def make_tables(uri: str, depth_bin_m: float, shapes: Sequence[str]) -> None:
    """Create the tables that do not exist; another process may be doing the same."""
    if not (np.isfinite(depth_bin_m) and depth_bin_m > 0):
        raise CatalogError(
            f"{uri}: depth bins of {depth_bin_m} m are impossible; give a width above 0"
        )
    _refuse_other_content(uri)
    for name, schema in (("crystals", crystals_schema(shapes)), ("tiles", TILES)):
        # Losing the race to another process that creates the same table is not a failure.
        with suppress(CommitFailedError):
            DeltaTable.create(
                f"{uri}/{name}",
                schema,
                mode="ignore",
                partition_by=list(PARTITIONS[name]),
                configuration={
                    "mcn.format": str(CATALOG_FORMAT),
                    "mcn.depth_bin_m": repr(float(depth_bin_m)),
                    "delta.dataSkippingStatsColumns": ",".join(STATISTICS[name]),
                },
                storage_options=log_options(uri),
                raise_if_key_not_exists=False,
            )


def _refuse_other_content(uri: str) -> None:
    file_system, path = filesystem_of(uri)
    if file_system.isfile(path):
        raise CatalogError(f"{uri}: is a file; a catalogue needs an empty or new folder")
    try:
        names = {os.path.basename(name.rstrip("/")) for name in file_system.ls(path, detail=False)}
    except FileNotFoundError:
        return
    # An interrupted creation leaves one of the two tables; it is completed later.
    if others := sorted(names - set(PARTITIONS)):
        raise CatalogError(
            f"{uri}: the folder contains other files ({others[0]}); choose an empty or new folder"
        )
