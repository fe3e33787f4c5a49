"""Questions that DuckDB answers over views: corrected values, ranges, and orders of any column.

Few crystals are chosen in this way, or those of few tiles; `mcn.catalog.query` answers plain
questions about wells and depths without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.active_files import Snapshot, files
from mcn.catalog.corrected.rows import CORRECTED, MODEL_KEY, Corrections, read_corrections
from mcn.catalog.model_names import ModelPair
from mcn.catalog.reading.lookup import find_models, known_wells
from mcn.catalog.reading.views import open_views
from mcn.catalog.selection import Selection
from mcn.catalog.storage import CatalogQueryError
from mcn.errors import unknown_name

if TYPE_CHECKING:
    import duckdb

    from mcn.catalog.store import Catalog

_BATCH_ROWS: Final = 250_000
_ORDER: Final = "well, depth_m, crystal_id"


def selected_schema(catalog: Catalog, selection: Selection) -> pa.Schema:
    """The columns of crystals; with corrected values, those of `CORRECTED` too."""
    schema = catalog.crystals_schema
    return pa.schema([*schema, *CORRECTED]) if selection.corrected else schema


def number_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns of numbers."""
    return [
        column.name
        for column in schema
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    ]


def view_batches(
    catalog: Catalog,
    snapshot: Snapshot,
    models: ModelPair,
    selection: Selection,
    limit: int | None,
    schema: pa.Schema,
) -> Iterator[pa.Table]:
    """A selection's crystals in order of well, depth and `crystal_id`.

    Parameters
    ----------
    catalog : Catalog
    snapshot : Snapshot
    models : ModelPair
        The models that the selection names.
    selection : Selection
    limit : int or None
        Maximum number of rows.
    schema : pa.Schema
        Columns of the result.

    Raises
    ------
    CatalogQueryError
        For ranges of columns that do not exist or are not numbers.
    """
    _check_ranges(catalog, selection)
    crystal_files = files(snapshot.crystals, selection.wells, selection.read_depths())
    corrections = None
    if selection.corrected:
        corrections = read_corrections(catalog, selection.wells)
    left = limit
    first_rows = _BATCH_ROWS if limit is None else limit
    for part, part_corrections in _parts(catalog, crystal_files, corrections, first_rows):
        if left == 0:
            return
        wells = pc.unique(part["partition.well"]).to_pylist()
        if part_corrections is not None:
            wells += part_corrections.added["well"].to_pylist()
        part_tiles = files(snapshot.tiles, sorted({*wells}))
        with open_views(catalog, part_tiles, part, models) as connection:
            if part_corrections is not None:
                correct_views(connection, catalog, part_corrections)
            piece = _select(connection, selection, left, schema, _ORDER)
        if left is not None:
            left -= piece.num_rows
        yield piece


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
    pa.Table
        All columns of crystals, with those of `CORRECTED` for corrected values.

    Raises
    ------
    CatalogQueryError
        For columns, shapes, wells and models that do not exist.
    """
    schema = selected_schema(catalog, selection)
    if column not in schema.names:
        raise CatalogQueryError(unknown_name("column", column, schema.names))
    if unknown := [shape for shape in selection.shapes if shape not in catalog.shapes]:
        raise CatalogQueryError(unknown_name("shape", unknown[0], catalog.shapes))
    _check_ranges(catalog, selection)
    snapshot = snapshot or catalog.snapshot()
    tile_files = known_wells(catalog, snapshot.tiles, selection.wells)
    crystal_files = files(snapshot.crystals, selection.wells, selection.depth)
    models = find_models(
        catalog, snapshot.tiles, selection.wells, selection.segmenter, selection.classifier
    )
    order = f'"{column}" {"DESC" if descending else "ASC"} NULLS LAST, crystal_id'
    with open_views(catalog, tile_files, crystal_files, models) as connection:
        if selection.corrected:
            corrections = read_corrections(catalog, selection.wells)
            correct_views(connection, catalog, corrections)
        # Sorting few columns first: masks are most of the bytes.
        keys = _select(connection, selection, limit, pa.schema([schema.field("crystal_id")]), order)
        connection.register("chosen_crystals", keys)
        rows = connection.sql(
            f"SELECT * FROM crystals SEMI JOIN chosen_crystals USING (crystal_id) ORDER BY {order}"
        )
        return rows.to_arrow_table().select(schema.names).cast(schema)


def correct_views(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, corrections: Corrections
) -> None:
    """Give `crystals` corrected values in the views of `open_views`.

    `model_crystals` holds the crystals as the models found them, `corrections` every correction.
    """
    connection.execute("ALTER VIEW crystals RENAME TO model_crystals")
    connection.register("corrections", corrections.rows)
    connection.register("changed_crystals", corrections.changed)
    connection.register("added_crystals", corrections.added)
    rows = corrected_crystals(catalog.crystals_schema.names, catalog.depth_bin_m)
    connection.execute(f"CREATE TEMP VIEW crystals AS {rows}")


def corrected_crystals(names: list[str], depth_bin_m: float) -> str:
    """SQL that gives crystals with corrected values.

    It reads `model_crystals`, the crystals as the models found them, `tiles`, and the tables of
    `Corrections` as `changed_crystals` and `added_crystals`.

    Parameters
    ----------
    names : sequence of str
        Columns of `crystals`; those of `CORRECTED` follow.
    depth_bin_m : float
        Width of the depth bins, metres.
    """
    of_tile = {"well", "depth_m", "classifier", "scanned_at"}
    of_model = {*of_tile, "tile_id", "segmenter", "crystal_id", "depth_bin"}
    changed = [
        f"c.{name}" if name in of_model else f"coalesce(k.{name}, c.{name}) AS {name}"
        for name in names
    ]
    bins = f"floor(t.depth_m / {depth_bin_m!r}) * {depth_bin_m!r} + 0.0 AS depth_bin"
    added = [
        bins if name == "depth_bin" else f"{'t' if name in of_tile else 'k'}.{name}"
        for name in names
    ]
    marks = [f"k.{name}" for name in CORRECTED.names]
    same = " AND ".join(f"k.{key} = c.{name}" for key, name in MODEL_KEY.items())
    return f"""
        SELECT {", ".join(changed + marks)}
        FROM model_crystals c LEFT JOIN changed_crystals k
            ON k.tile_id = c.tile_id AND k.segmenter = c.segmenter AND {same}
        WHERE k.correction IS DISTINCT FROM 'delete'
        UNION ALL
        SELECT {", ".join(added + marks)}
        FROM added_crystals k JOIN tiles t
            ON t.tile_id = k.tile_id AND t.segmenter = k.segmenter AND t.well = k.well
        WHERE t.status = 'ok'
    """


def _check_ranges(catalog: Catalog, selection: Selection) -> None:
    numbers = number_columns(catalog.crystals_schema)
    if unknown := [name for name in selection.ranges if name not in numbers]:
        raise CatalogQueryError(unknown_name("number column", unknown[0], numbers))


def _parts(
    catalog: Catalog, crystal_files: pa.Table, corrections: Corrections | None, first_rows: int
) -> Iterator[tuple[pa.Table, Corrections | None]]:
    """Files to read together, each with the crystals that persons added in its wells and bins."""
    parts = [*_consecutive(crystal_files, first_rows)]
    if corrections is None or not (parts or corrections.added.num_rows):
        yield from ((part, corrections) for part in parts)
        return
    parts = parts or [crystal_files]
    last: tuple[str, float] | None = None
    for number, part in enumerate(parts, start=1):
        # Added crystals may be in bins without any other; the last part takes the remaining ones.
        after, last = last, None
        if number < len(parts):
            end = part.slice(part.num_rows - 1)
            last = end["partition.well"][0].as_py(), end["partition.depth_bin"][0].as_py()
        yield part, corrections.between(after, last, catalog.depth_bin_m)


def _consecutive(crystal_files: pa.Table, first_rows: int) -> Iterator[pa.Table]:
    """Files of complete partitions by well and depth, in batches of growing size."""
    ordered = crystal_files.sort_by(
        [("partition.well", "ascending"), ("partition.depth_bin", "ascending")]
    )
    bins = ordered["partition.depth_bin"].to_pylist()
    wells = ordered["partition.well"].to_pylist()
    start, rows, enough = 0, 0, first_rows
    for index, count in enumerate(ordered["num_records"].to_pylist()):
        inside = index and (wells[index], bins[index]) == (wells[index - 1], bins[index - 1])
        if rows >= enough and not inside:
            yield ordered.slice(start, index - start)
            start, rows, enough = index, 0, min(4 * enough, _BATCH_ROWS)
        rows += count or 0
    if start < ordered.num_rows:
        yield ordered.slice(start)


def _select(
    connection: duckdb.DuckDBPyConnection,
    selection: Selection,
    limit: int | None,
    schema: pa.Schema,
    order: str,
) -> pa.Table:
    """Rows of the view `crystals` in order; its files already restrict the wells."""
    low, high = selection.depth or (None, None)
    depth, crystal = selection.after or (None, None)
    possible: list[tuple[str, str, object]] = [
        ("depth_m >= $depth", "depth", depth),
        ("(depth_m > $depth OR crystal_id > $crystal)", "crystal", crystal),
        ("depth_m >= $low", "low", low),
        ("depth_m <= $high", "high", high),
        ("list_contains($shapes, shape)", "shapes", list(selection.shapes) or None),
        ("confidence >= $least", "least", selection.min_confidence),
        ("tile_id = $tile_id", "tile_id", selection.tile_id),
        ("(correction IS NOT NULL) = $is_corrected", "is_corrected", selection.is_corrected),
    ]
    for number, (name, ends) in enumerate(selection.ranges.items()):
        for sign, letter, end in zip((">=", "<="), "ab", ends, strict=True):
            possible.append((f'"{name}" {sign} ${letter}{number}', f"{letter}{number}", end))
    conditions = ["true", *(text for text, _, value in possible if value is not None)]
    rows = connection.sql(
        f"SELECT {', '.join(schema.names)} FROM crystals WHERE {' AND '.join(conditions)} "
        f"ORDER BY {order} {'' if limit is None else f'LIMIT {limit:d}'}",
        params={name: value for _, name, value in possible if value is not None},
    )
    return rows.to_arrow_table().cast(schema)
