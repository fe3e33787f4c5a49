"""A catalogue in a folder or in object storage: opening it, and committing to it.

There are two Delta Lake tables, `crystals` and `tiles`. The log makes each commit atomic
and each read a snapshot; the data files are plain Parquet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from mcn.catalog.active_files import Depths, Snapshot
from mcn.catalog.data_files import PARTITIONS, DataFile, write_data_files
from mcn.catalog.delta_tables import CATALOG_FORMAT as CATALOG_FORMAT
from mcn.catalog.delta_tables import NoCatalogError as NoCatalogError
from mcn.catalog.delta_tables import (
    check_table,
    grow,
    is_catalog,
    make_tables,
    open_delta_table,
)
from mcn.catalog.integrity.delta_log import sealed
from mcn.catalog.reading.live_tables import LiveTables
from mcn.catalog.reading.versions import CRYSTALS_VERSION, AsOf, find_version
from mcn.catalog.reading.well_list import WellSummaries, list_wells
from mcn.catalog.schema import DEPTH_BIN_M, TILES, RowError, check_rows, crystals_schema, stamped
from mcn.catalog.storage import (
    CatalogError,
    explained,
    normalise,
    retry_conflict,
)
from mcn.catalog.wells import spell_wells
from mcn.taxonomy import SHAPES

__all__ = ["CATALOG_FORMAT", "Catalog", "CatalogError", "Snapshot"]


class Catalog:
    """An existing catalogue: `Catalog("core/catalog")`, or from `create` or `open_or_create`.

    It keeps the lists of both tables' data files in memory, and before each question reads what
    was committed since the one before. Passed to another process, it is only an address.

    Parameters
    ----------
    uri : str or path
        A folder or `s3://bucket/folder`.
    as_of : int, str, date or datetime, optional
        The catalogue as it was at this version or time, which nothing can be added to
        (`mcn.catalog.reading.versions`).

    Attributes
    ----------
    uri : str
        Absolute path or `s3://bucket/folder`.
    depth_bin_m : float
        Width of the depth bins of `crystals` in metres, fixed at creation.
    shapes : tuple of str
        Shapes with probability columns in `crystals`, fixed at creation.
    versions, until : dict of str to int, datetime or None
        For a catalogue as it was: versions of the tables, and the time up to which corrections
        and imported wells count.
    live : LiveTables
        The snapshot that is kept up to date, and the data files that were read last.

    Raises
    ------
    CatalogError
        If there is no catalogue, or a newer version of mcn wrote it.

    Examples
    --------
    >>> catalog = Catalog("core/catalog")  # doctest: +SKIP
    >>> catalog.crystals(wells=["A-1"], depth=(1200.0, 1205.0))  # doctest: +SKIP
    """

    def __init__(self, uri: str | os.PathLike[str], as_of: AsOf | None = None) -> None:
        self.uri = normalise(uri)
        self.versions: dict[str, int] = {}
        self.until: datetime | None = None
        if as_of is not None:
            open_delta_table(self.uri, "tiles")  # It may not be a catalogue.
            past = find_version(self, as_of)
            self.versions = {"tiles": past.tiles, "crystals": past.crystals}
            self.until = past.until
        tiles = self._table("tiles")
        crystals = self._table("crystals")
        names = [field.name for field in crystals.schema().fields]
        self.shapes: tuple[str, ...] = tuple(
            name.removeprefix("p_") for name in names if name.startswith("p_")
        )
        for table, schema in ((tiles, TILES), (crystals, self.crystals_schema)):
            check_table(self.uri, table, schema)
        self.depth_bin_m = float(crystals.metadata().configuration["mcn.depth_bin_m"])
        self.live = LiveTables(self.uri, self._table, stays=bool(self.versions))
        self.well_summaries = WellSummaries()
        with explained(self.uri):
            self.live.loaded(tiles, crystals)

    def __getstate__(self) -> dict[str, Any]:
        names = ("uri", "versions", "until", "depth_bin_m", "shapes")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.live = LiveTables(self.uri, self._table, stays=bool(self.versions))
        self.well_summaries = WellSummaries()

    def __repr__(self) -> str:
        as_of = f", as_of={self.versions['tiles']}" if self.versions else ""
        return f"Catalog({self.uri!r}{as_of})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalog) and self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        return hash(self.uri)

    @property
    def crystals_schema(self) -> pa.Schema:
        """The columns of `crystals`."""
        return crystals_schema(self.shapes)

    @classmethod
    def create(
        cls,
        uri: str | os.PathLike[str],
        depth_bin_m: float = DEPTH_BIN_M,
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
            make_tables(uri, depth_bin_m, shapes)
        return cls.open(uri)

    @classmethod
    def open(cls, uri: str | os.PathLike[str], as_of: AsOf | None = None) -> Catalog:
        """Open an existing catalogue, as `Catalog(uri)` does."""
        return cls(uri, as_of)

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
            Width of the depth bins in metres; None takes an existing catalogue's, or
            `mcn.catalog.schema.DEPTH_BIN_M`.
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
                make_tables(uri, DEPTH_BIN_M if depth_bin_m is None else depth_bin_m, shapes)
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
        with explained(self.uri):
            return self.live.refresh()

    def crystals(
        self,
        wells: Sequence[str] = (),
        depth: Depths | None = None,
        shapes: Sequence[str] = (),
        columns: Sequence[str] | None = None,
        min_confidence: float | None = None,
        **which: Any,
    ) -> pa.Table:
        """Crystals by well, depth, shape and confidence, ordered by well, depth and `crystal_id`.

        Parameters
        ----------
        wells, shapes : sequence of str, or a str for a single one
            All if empty.
        depth : (float or None, float or None), optional
            Measured depths in metres, both ends included; None is open.
        columns : sequence of str, optional
            Columns of the result; None is `mcn.catalog.query.FEW_COLUMNS`. `"all"` is all of them,
            with the masks.
        min_confidence : float, optional
            Lowest confidence, 0 to 1.
        **which
            `limit`, `segmenter` and `classifier`, as in `mcn.catalog.query.query`.

        Raises
        ------
        CatalogQueryError
            For wells, shapes, columns and models that do not exist, and for impossible numbers.
        """
        # Questions lie above the store: they are looked up when they are asked.
        questions = import_module("mcn.catalog.query")
        chosen = None if columns == "all" else columns or questions.FEW_COLUMNS
        which |= {"columns": chosen, "min_confidence": min_confidence}
        return questions.query(self, wells, depth, shapes, **which)

    def wells(self) -> pa.Table:
        """One row per well: tiles, crystals, depths and the last scan.

        Returns
        -------
        pa.Table of schema `mcn.catalog.reading.well_list.WELL_LIST`
        """
        return list_wells(self)

    def delta_table(self, name: str) -> DeltaTable:
        """A table as `deltalake` opens it, at its latest version.

        Parameters
        ----------
        name : {"crystals", "tiles"}
        """
        return open_delta_table(self.uri, name)

    def _table(self, name: str) -> DeltaTable:
        return open_delta_table(self.uri, name, self.versions.get(name))

    def check_present(self) -> None:
        """Raise `CatalogError` for a catalogue as it was, which nothing can be added to."""
        if self.versions:
            raise CatalogError(
                f"{self.uri}: is opened as it was at version {self.versions['tiles']}; open it "
                "without a version to change it"
            )

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
        tables = {"crystals": stamped(crystals, now), "tiles": stamped(tiles, now)}
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
        for name in PARTITIONS:
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
        name : {"crystals", "tiles"}
        actions : sequence of AddAction or RemoveAction
        read : DeltaTable, optional
            The table's version from which the files to remove were chosen; default is the latest.

        Raises
        ------
        CatalogError
            If the storage fails, or another process has removed one of the files since.
        """
        self.check_present()
        schema = self.crystals_schema if name == "crystals" else TILES

        def once() -> None:
            notes = {}
            if name == "tiles":
                notes[CRYSTALS_VERSION] = str(self.snapshot().crystals.version)
            table = read
            if table is None:
                table = self.delta_table(name)
                grow(table, schema)
            table.create_write_transaction(
                list(actions),
                "append",
                schema,
                partition_by=list(PARTITIONS[name]),
                commit_properties=sealed(actions, notes=notes),
            )

        with explained(self.uri):
            # If the response was lost, the commit may be done; adding a file twice adds it once.
            retry_conflict(once)
