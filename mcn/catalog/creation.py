"""Creating the tables of a catalogue, and adding columns to those of an older version."""

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

from mcn.catalog.data_files import PARTITIONS, SCANNED, STATISTICS
from mcn.catalog.integrity.delta_log import open_table
from mcn.catalog.schema import TILES, crystals_schema
from mcn.catalog.storage import CatalogError, log_options
from mcn.io.objects import filesystem_of

CATALOG_FORMAT: Final = 1
"""Version of the catalogue's layout; catalogues of newer versions are not opened."""


def is_catalog(uri: str) -> bool:
    """Whether both tables exist."""
    try:
        # `DeltaTable.is_deltatable` would hold the interpreter's lock while it waits.
        for name in SCANNED:
            open_table(uri, name)
    except TableNotFoundError:
        return False
    return True


def make_catalog(uri: str, depth_bin_m: float, shapes: Sequence[str]) -> None:
    """Create the tables that do not exist; another process may be doing the same."""
    if not (np.isfinite(depth_bin_m) and depth_bin_m > 0):
        raise CatalogError(
            f"{uri}: depth bins of {depth_bin_m} m are impossible; give a width above 0"
        )
    _refuse_other_content(uri)
    for name, schema in (("crystals", crystals_schema(shapes)), ("tiles", TILES)):
        make_table(uri, name, schema, depth_bin_m)


def make_table(uri: str, name: str, schema: pa.Schema, depth_bin_m: float) -> None:
    """Create one table if it does not exist."""
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


def add_columns(table: DeltaTable, schema: pa.Schema) -> None:
    """Add the columns that a table written by an older version does not have."""
    existing = {field.name for field in table.schema().fields}
    if missing := [DeltaField.from_arrow(field) for field in schema if field.name not in existing]:
        table.alter.add_columns(missing)
