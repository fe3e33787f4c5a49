"""A catalogue in a folder or in object storage: opening it, and committing to it.

There are two Delta Lake tables, `crystals` and `tiles`, and a third, `corrections`, from the first
correction on. The log makes each commit atomic
and each read a snapshot; the data files are plain Parquet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from mcn.catalog.corrected_rows import corrections_schema
from mcn.catalog.creation import (
    CATALOG_FORMAT,
    add_columns,
    is_catalog,
    make_catalog,
    make_table,
)
from mcn.catalog.data_files import PARTITIONS, SCANNED, DataFile, write_data_files
from mcn.catalog.integrity.delta_log import open_table, sealed
from mcn.catalog.schema import (
    ADDED_LATER,
    TILES,
    RowError,
    check_rows,
    crystals_schema,
)
from mcn.catalog.storage import (
    CatalogError,
    CatalogStorageError,
    explained,
    normalise,
    retry_conflict,
)
from mcn.catalog.wells import spell_wells
from mcn.taxonomy import SHAPES

__all__ = ["CATALOG_FORMAT", "Catalog", "CatalogError", "Snapshot"]


class NoCatalogError(CatalogError):
    """There is no catalogue at this address."""


@dataclass(frozen=True)
class Snapshot:
    """Both tables at one moment. Tile rows have their crystals; crystals may lack a tile row."""

    tiles: DeltaTable
    crystals: DeltaTable


@dataclass(frozen=True)
class Catalog:
    """An existing catalogue, from `create`, `open` or `open_or_create`.

    It holds an address and no connection, so it is cheap to pass to other processes.

    Parameters
    ----------
    uri : str
        Absolute path or `s3://bucket/folder`.
    depth_bin_m : float
        Width of the depth bins of `crystals` in metres, fixed at creation.
    shapes : tuple of str
        Shapes with probability columns in `crystals`, fixed at creation.
    """

    uri: str
    depth_bin_m: float
    shapes: tuple[str, ...] = SHAPES

    @property
    def crystals_schema(self) -> pa.Schema:
        """The columns of `crystals`."""
        return crystals_schema(self.shapes)

    @classmethod
    def create(
        cls,
        uri: str | os.PathLike[str],
        depth_bin_m: float = 100.0,
        shapes: Sequence[str] = SHAPES,
    ) -> Catalog:
        """Create an empty catalogue in an empty or new folder.

        Raises
        ------
        CatalogError
            If the folder is not empty or cannot be written.
        """
        uri = normalise(uri)
        with explained(uri):
            if is_catalog(uri):
                raise CatalogError(
                    f"{uri}: a catalogue already exists; open it, or choose another folder"
                )
            make_catalog(uri, depth_bin_m, shapes)
        return cls.open(uri)

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> Catalog:
        """Open an existing catalogue.

        Raises
        ------
        CatalogError
            If there is no catalogue, or a newer version of mcn wrote it.
        """
        uri = normalise(uri)
        catalog = cls(uri, 0.0)
        tiles = catalog.tiles()
        crystals = catalog.crystals()
        names = [field.name for field in crystals.schema().fields]
        shapes = tuple(name.removeprefix("p_") for name in names if name.startswith("p_"))
        for table, schema in ((tiles, TILES), (crystals, crystals_schema(shapes))):
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
        return cls(uri, float(crystals.metadata().configuration["mcn.depth_bin_m"]), shapes)

    @classmethod
    def open_or_create(
        cls,
        uri: str | os.PathLike[str],
        depth_bin_m: float | None = None,
        shapes: Sequence[str] = SHAPES,
    ) -> Catalog:
        """Open a catalogue, or create it if there is none.

        Parameters
        ----------
        uri : str or path
        depth_bin_m : float, optional
            Width of the depth bins in metres; None takes an existing catalogue's, or 100.
        shapes : sequence of str
            The classes of the classifier.

        Raises
        ------
        CatalogError
            As in `create` and `open`, or if an existing catalogue has other bins or shapes.
        """
        uri = normalise(uri)
        with explained(uri):
            if not is_catalog(uri):
                make_catalog(uri, 100.0 if depth_bin_m is None else depth_bin_m, shapes)
        catalog = cls.open(uri)
        if catalog.shapes != tuple(shapes):
            raise CatalogError(
                f"{uri}: has the shapes {', '.join(catalog.shapes)}, and the classifier has "
                f"{', '.join(shapes)}; create another catalogue for it"
            )
        if depth_bin_m is not None and depth_bin_m != catalog.depth_bin_m:
            raise CatalogError(
                f"{uri}: its depth bins are {catalog.depth_bin_m:g} m wide, not {depth_bin_m:g} m; "
                "leave the width out or create another catalogue"
            )
        return catalog

    def snapshot(self) -> Snapshot:
        """Both tables as they are now; commits that follow do not change it."""
        # In this order, the crystals of each tile row in the snapshot are committed already.
        tiles = self.tiles()
        return Snapshot(tiles, self.crystals())

    def crystals(self) -> DeltaTable:
        """The table `crystals` as it is now."""
        return self._table("crystals")

    def tiles(self) -> DeltaTable:
        """The table `tiles` as it is now."""
        return self._table("tiles")

    def corrections(self) -> DeltaTable | None:
        """The table `corrections` as it is now; None before the first correction."""
        with explained(self.uri):
            try:
                return open_table(self.uri, "corrections")
            except TableNotFoundError:
                return None

    def schema_of(self, name: str) -> pa.Schema:
        """The columns of a table."""
        if name == "corrections":
            return corrections_schema(self.shapes)
        return self.crystals_schema if name == "crystals" else TILES

    def existing(self) -> dict[str, DeltaTable]:
        """The existing tables by name."""
        tables = {"crystals": self.crystals(), "tiles": self.tiles()}
        corrections = self.corrections()
        return tables if corrections is None else tables | {"corrections": corrections}

    def commit_corrections(self, rows: pa.Table) -> None:
        """Add corrections of one well in one transaction; see `corrections_schema`.

        Raises
        ------
        CatalogError
            If the storage fails. Nothing is visible then.
        """
        rows = spell_wells(rows.cast(self.schema_of("corrections")))
        with explained(self.uri):
            if self.corrections() is None:
                make_table(self.uri, "corrections", rows.schema, self.depth_bin_m)
            parts = write_data_files(self.uri, {"corrections": rows}, "correction")
        self.change("corrections", [part.added() for part in parts])

    def commit(self, crystals: pa.Table, tiles: pa.Table) -> datetime:
        """Add scanned tiles with all their crystals: `write`, then `commit_parts`.

        Returns
        -------
        datetime
            The `scanned_at` of these rows.
        """
        parts, now = self.write(crystals, tiles, "commit")
        self.commit_parts(parts)
        return now

    def write(
        self, crystals: pa.Table, tiles: pa.Table, label: str
    ) -> tuple[list[DataFile], datetime]:
        """Write scanned tiles with all their crystals as data files that are not visible yet.

        `scanned_at` of both tables is set here. A crystal counts only with a tile row of the
        same `tile_id`, models and `scanned_at`, so the remains of an interrupted commit never
        become part of a later one.

        Parameters
        ----------
        crystals : pa.Table of schema `crystals_schema`
        tiles : pa.Table of schema `TILES`
            One row a tile, failed tiles included.
        label : str
            Name of the writer, part of the files' names.

        Returns
        -------
        list of DataFile
            To be passed to `commit_parts` together.
        datetime
            The `scanned_at` of these rows.

        Raises
        ------
        RowError
            If the two tables do not match. Nothing is written.
        CatalogError
            If the storage fails.
        """
        try:
            crystals = spell_wells(crystals.cast(self.crystals_schema))
            tiles = spell_wells(tiles.cast(TILES))
        except ValueError as error:
            raise RowError(f"{self.uri}: rows have other columns or gaps ({error})") from error
        check_rows(self.uri, crystals, tiles, self.depth_bin_m)
        now = datetime.now(UTC)
        tables = {"crystals": _stamped(crystals, now), "tiles": _stamped(tiles, now)}
        with explained(self.uri):
            return write_data_files(self.uri, tables, label), now

    def commit_parts(
        self,
        parts: Sequence[DataFile],
        announce: Callable[[Sequence[DataFile]], None] = lambda _: None,
    ) -> None:
        """Make written parts visible; readers see either the complete tile or nothing of it.

        Crystals are committed first, tile rows second. Committing the same parts again
        changes nothing.

        Parameters
        ----------
        parts : sequence of DataFile
            The result of one or several calls of `write`.
        announce : callable
            Called with the crystals' parts before any of them is in the log.

        Raises
        ------
        CatalogError
            If the storage fails. Nothing is visible then, and the call may be repeated.
        """
        for name in SCANNED:
            table_parts = [part for part in parts if part.table == name]
            if name == "crystals":
                announce(table_parts)
            if table_parts:
                self.change(name, [part.added() for part in table_parts])

    def change(
        self,
        name: str,
        actions: Sequence[AddAction | RemoveAction],
        read: DeltaTable | None = None,
    ) -> None:
        """Add and remove data files of a table in one transaction.

        Any number of processes may do so at once. Each transaction is one object that the
        storage creates or refuses; a refused transaction is retried after the others.

        Parameters
        ----------
        name : {"crystals", "tiles", "corrections"}
        actions : sequence of AddAction or RemoveAction
        read : DeltaTable, optional
            The table's version from which the files to remove were chosen; default is the latest.

        Raises
        ------
        CatalogError
            If the storage fails, or another process has removed one of the files since.
        """
        schema = self.schema_of(name)

        def once() -> None:
            if read is None:
                add_columns(self._table(name), schema)
            (read or self._table(name)).create_write_transaction(
                list(actions),
                "append",
                schema,
                partition_by=list(PARTITIONS[name]),
                commit_properties=sealed(actions),
            )

        with explained(self.uri):
            # If the response was lost, the commit may be done; adding a file twice adds it once.
            retry_conflict(once)

    def _table(self, name: str) -> DeltaTable:
        with explained(self.uri):
            try:
                return open_table(self.uri, name)
            except TableNotFoundError:
                if not self.uri.startswith("s3://") and os.path.isdir(self.uri):
                    os.listdir(self.uri)  # Raises the system's error if it is not permitted.
                if other := self._other_table(name):
                    raise CatalogStorageError(
                        f"{self.uri}: its table {name} is missing, but {other} exists; restore it "
                        "from a backup, or scan again if the catalogue was never filled",
                        "missing",
                    ) from None
                raise NoCatalogError(
                    f"{self.uri}: there is no crystal catalogue; check the address, "
                    "or create one with `mcn scan TILES CATALOG`"
                ) from None

    def _other_table(self, name: str) -> str | None:
        """The name of the other table if that is there."""
        (other,) = {*SCANNED} - {name}
        with suppress(TableNotFoundError):
            open_table(self.uri, other)
            return other
        return None


def _stamped(rows: pa.Table, scanned_at: datetime) -> pa.Table:
    column = rows.schema.get_field_index("scanned_at")
    field = rows.schema.field(column)
    stamps = pa.repeat(pa.scalar(scanned_at, field.type), rows.num_rows)
    return rows.set_column(column, field, stamps)
