"""The first crystals in an order, such as the least certain ones, for a person to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from mcn.catalog.active_files import files
from mcn.catalog.corrected_rows import CORRECTED
from mcn.catalog.query import corrections_of, find_models, known_wells, open_views
from mcn.catalog.selection import Selection, check_columns, select
from mcn.catalog.storage import CatalogQueryError
from mcn.errors import unknown_name

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog, Snapshot


def first_crystals(
    catalog: Catalog,
    selection: Selection,
    column: str,
    limit: int,
    *,
    descending: bool = False,
    snapshot: Snapshot | None = None,
) -> pa.Table:
    """The first of a selection's crystals in the order of a column; unknown values come last.

    Parameters
    ----------
    catalog : Catalog
    selection : Selection
    column : str
        Such as `confidence` for the least certain crystals.
    limit : int
        Maximum number of crystals.
    descending : bool
        Largest values first.
    snapshot : Snapshot, optional

    Returns
    -------
    pa.Table of schema `catalog.crystals_schema`
        With the columns of `CORRECTED` for corrected values.

    Raises
    ------
    CatalogQueryError
        For columns, shapes, wells and models that do not exist.
    """
    schema = catalog.crystals_schema
    if column not in schema.names:
        raise CatalogQueryError(unknown_name("column", column, schema.names))
    check_columns(selection, catalog.shapes, schema)
    snapshot = snapshot or catalog.snapshot()
    tile_files = known_wells(catalog, snapshot.tiles, selection.wells)
    crystal_files = files(snapshot.crystals, selection.wells, selection.depth)
    models = find_models(
        catalog, snapshot.tiles, selection.wells, selection.segmenter, selection.classifier
    )
    corrections = corrections_of(catalog, selection.wells) if selection.corrected else None
    if corrections is not None:
        schema = pa.schema([*schema, *CORRECTED])
    order = f'"{column}" {"DESC" if descending else "ASC"} NULLS LAST, crystal_id'
    with open_views(catalog, tile_files, crystal_files, models, corrections) as connection:
        # Sorting few columns first: masks are most of the bytes.
        keys = select(connection, selection, limit, pa.schema([schema.field("crystal_id")]), order)
        connection.register("chosen_crystals", keys)
        rows = connection.sql(
            f"SELECT * FROM crystals SEMI JOIN chosen_crystals USING (crystal_id) ORDER BY {order}"
        )
        return rows.to_arrow_table().select(schema.names).cast(schema)
