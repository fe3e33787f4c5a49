"""Queries of a catalogue: by well, depth and shape, or in SQL.

Every result comes from one snapshot and from the *latest models of each tile*: the row of
`tiles` that was scanned last, and the crystals committed with it. If the last scan of a tile
failed, the tile has no crystals, whatever older models detected. If a segmenter or classifier is
named, only its rows count. `mcn.catalog.reading.latest` is the single definition of this; queries,
SQL, depth logs, exports and the endpoint all use it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.active_files import Depths, Snapshot, files
from mcn.catalog.corrected.rows import read_corrections
from mcn.catalog.corrected.views import correct_views, selected_schema, view_batches
from mcn.catalog.depths import check_depth
from mcn.catalog.depths import parse_depth as parse_depth
from mcn.catalog.integrity.damage import is_of_reading
from mcn.catalog.model_names import ModelPair
from mcn.catalog.reading.latest import TILE_KEY, crystals_of
from mcn.catalog.reading.lookup import find_models as find_models
from mcn.catalog.reading.lookup import known_wells as known_wells
from mcn.catalog.reading.rows import Where, depth_pieces, read_rows
from mcn.catalog.reading.sql_limits import SqlLimits, run_within
from mcn.catalog.reading.views import open_views as open_views
from mcn.catalog.reading.views import reading
from mcn.catalog.reading.well_rows import read_crystals, read_tiles
from mcn.catalog.selection import Selection as Selection
from mcn.catalog.selection import located
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.wells import plain_well
from mcn.errors import unknown_name

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

_BATCH_ROWS: Final = 250_000
"""Number of crystals that are read and sorted at a time."""

FEW_COLUMNS: Final = (
    "crystal_id",
    "tile_id",
    "well",
    "depth_m",
    "shape",
    "confidence",
    "equivalent_diameter_um",
    "aspect_ratio",
    "segmenter",
    "classifier",
)
"""Columns of crystals that are read if none are named."""

_ORDER: Final = ("well", "depth_m", "crystal_id")
_QUERIES: Final = {"SELECT", "EXPLAIN", "MULTI"}  # PIVOT is parsed as MULTI


def query(
    catalog: Catalog,
    wells: Sequence[str] = (),
    depth: Depths | None = None,
    shapes: Sequence[str] = (),
    limit: int | None = None,
    segmenter: str | None = None,
    classifier: str | None = None,
    columns: Sequence[str] | None = None,
    min_confidence: float | None = None,
    *,
    corrected: bool = False,
) -> pa.Table:
    """Crystals by well, depth and shape, ordered by well, depth and `crystal_id`.

    Parameters
    ----------
    catalog : Catalog
    wells, depth, shapes, segmenter, classifier, columns, min_confidence, corrected
        As in `Selection`.
    limit : int, optional
        Maximum number of rows.

    Returns
    -------
    pa.Table
        The columns of `catalog.crystals_schema`, or those that were named.

    Raises
    ------
    CatalogQueryError
        For wells, shapes, columns and models that do not exist (the message names those that do),
        and for impossible depths and confidences.

    Examples
    --------
    >>> query(Catalog.open("core/catalog"), ["A-1"], (1200.0, 1250.0))  # doctest: +SKIP
    """
    selection = Selection(
        wells,
        depth,
        shapes,
        segmenter,
        classifier,
        columns=columns,
        min_confidence=min_confidence,
        corrected=corrected,
    )
    return select_crystals(catalog, selection, limit)


def select_crystals(
    catalog: Catalog,
    selection: Selection,
    limit: int | None = None,
    snapshot: Snapshot | None = None,
) -> pa.Table:
    """The result of `query` for a selection."""
    return pa.concat_tables(iter_batches(catalog, selection, limit, snapshot))


def iter_batches(
    catalog: Catalog,
    selection: Selection = Selection(),
    limit: int | None = None,
    snapshot: Snapshot | None = None,
) -> Iterator[pa.Table]:
    """The result of `query` in batches, for results larger than memory.

    The first batch is empty, so there is always at least one.
    """
    if limit is not None and limit < 0:
        raise CatalogQueryError(f"a limit of {limit} rows is impossible; give 0 or more")
    if unknown := [shape for shape in selection.shapes if shape not in catalog.shapes]:
        raise CatalogQueryError(unknown_name("shape", unknown[0], catalog.shapes))
    schema = _chosen(catalog, selection)
    snapshot = snapshot or catalog.snapshot()
    if selection.formations or selection.box:
        yield schema.empty_table()
        for interval in located(catalog, selection, snapshot):
            for piece in iter_batches(catalog, interval, limit, snapshot):
                limit = None if limit is None else limit - piece.num_rows
                yield piece
        return
    tile_files = known_wells(catalog, snapshot.tiles, selection.wells)
    models = find_models(
        catalog, snapshot.tiles, selection.wells, selection.segmenter, selection.classifier
    )
    yield schema.empty_table()
    if selection.needs_views:
        yield from view_batches(catalog, snapshot, models, selection, limit, schema)
        return
    left = limit
    waiting: list[pa.Table] = []
    for well in pc.unique(tile_files["partition.well"]).to_pylist():
        for piece in _pieces_of_well(catalog, snapshot, well, models, selection, limit):
            piece = piece.select(schema.names).slice(0, left)
            waiting.append(piece)
            if left is not None and (left := left - piece.num_rows) == 0:
                yield pa.concat_tables(waiting)
                return
            # Many wells of few crystals make one batch.
            if sum(table.num_rows for table in waiting) >= _BATCH_ROWS:
                yield pa.concat_tables(waiting)
                waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def tiles_and_crystals(
    catalog: Catalog,
    wells: Sequence[str],
    tile_columns: Sequence[str],
    crystal_columns: Sequence[str],
    depth: Depths | None = None,
    segmenter: str | None = None,
    classifier: str | None = None,
    snapshot: Snapshot | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Tiles and crystals of wells by the latest models of each tile, or by those named.

    Parameters
    ----------
    catalog : Catalog
    wells : sequence of str
    tile_columns, crystal_columns : sequence of str
        Columns to read.
    depth, segmenter, classifier
        As in `Selection`.
    snapshot : Snapshot, optional
        Default is the present one.

    Returns
    -------
    tiles, crystals : pa.Table
        Failed tiles included. By well; within it in no order.

    Raises
    ------
    CatalogQueryError
        As `query`.
    """
    snapshot = snapshot or catalog.snapshot()
    depth = check_depth(depth)
    known_wells(catalog, snapshot.tiles, wells)
    models = find_models(catalog, snapshot.tiles, wells, segmenter, classifier)
    tile_tables, crystal_tables = [], []
    for well in sorted({*map(plain_well, wells)}):
        tiles = read_tiles(catalog, snapshot, well, models, tile_columns)
        crystal_tables.append(read_crystals(catalog, snapshot, well, tiles, crystal_columns, depth))
        if depth is not None:
            tiles = Where(depth).of(tiles)
        tile_tables.append(tiles.select([*tile_columns]))
    return pa.concat_tables(tile_tables), pa.concat_tables(crystal_tables)


def _pieces_of_well(
    catalog: Catalog,
    snapshot: Snapshot,
    well: str,
    models: ModelPair,
    selection: Selection,
    limit: int | None,
) -> Iterator[pa.Table]:
    """The selected crystals of a well, in sorted pieces by depth."""
    depth = selection.read_depths()
    crystal_files = files(snapshot.crystals, [well], depth)
    if not crystal_files.num_rows or limit == 0:
        return
    tiles = read_tiles(catalog, snapshot, well, models, ())
    needed = (*(selection.columns or catalog.crystals_schema.names), *_ORDER, *TILE_KEY)
    with reading(catalog, {"crystals": crystal_files}):
        open_files = catalog.live.fragments.of("crystals", crystal_files)
        where = Where(
            depth or (None, None),
            shapes=selection.shapes,
            min_confidence=selection.min_confidence,
            after=selection.after,
        )
        targets = _growing(_BATCH_ROWS if limit is None else limit)
        columns = [*dict.fromkeys(needed)]
        for start, before in depth_pieces(open_files, where, targets):
            piece_depths = start, where.depth[1]
            rows = read_rows(
                open_files,
                catalog.crystals_schema,
                columns,
                replace(where, depth=piece_depths, before=before),
            )
            piece = crystals_of(rows, tiles)
            yield piece.sort_by([(name, "ascending") for name in _ORDER])


def _growing(target: int) -> Iterator[int]:
    """Rows of one batch after the other: few at first if few are wanted."""
    while True:
        yield target
        target = min(4 * target, _BATCH_ROWS)


def _chosen(catalog: Catalog, selection: Selection) -> pa.Schema:
    """The schema of a selection's columns of crystals; of all if there are none."""
    schema, columns = selected_schema(catalog, selection), selection.columns
    if columns is None:
        return schema
    if unknown := [name for name in columns if name not in schema.names]:
        raise CatalogQueryError(unknown_name("column", unknown[0], schema.names))
    if not columns:
        raise CatalogQueryError(f"no column is named; use some of {', '.join(schema.names)}")
    return pa.schema([schema.field(name) for name in dict.fromkeys(columns)])


def sql(
    catalog: Catalog,
    text: str,
    segmenter: str | None = None,
    classifier: str | None = None,
    limits: SqlLimits = SqlLimits(),
    *,
    corrected: bool = False,
) -> pa.Table:
    """Run one SQL query (DuckDB's dialect) on the views `crystals` and `tiles`.

    They hold the rows of the latest models of each tile; `all_crystals` and `all_tiles` hold
    the rows of all models; `wells` and `tops` hold what was imported about wells. The query can
    read only these views and cannot write: files, network and settings are not accessible.
    With a condition on `well` or `depth_bin`, other wells and bins are not read.

    Parameters
    ----------
    catalog : Catalog
    text : str
    segmenter, classifier : str, optional
        As in `Selection`: the models of the rows in `crystals` and `tiles`.
    limits : SqlLimits
        Longest time and most memory.
    corrected : bool
        `crystals` has corrected values and the columns of `mcn.catalog.corrected.rows.CORRECTED`,
        and the view `corrections` has every correction.

    Raises
    ------
    CatalogQueryError
        For SQL that goes beyond the limits or that DuckDB rejects, for statements other than a
        query, and for unknown models.
    CatalogStorageError
        If the data cannot be read.
    """
    import duckdb

    snapshot = catalog.snapshot()
    models = find_models(catalog, snapshot.tiles, (), segmenter, classifier)
    every = files(snapshot.tiles), files(snapshot.crystals)
    with open_views(catalog, *every, models, limits.memory_mb) as connection:
        if corrected:
            correct_views(connection, catalog, read_corrections(catalog))
        if re.search(r"\b(wells|tops)\b", text, re.IGNORECASE):
            from mcn.catalog.wells_table.table import read_wells, tops_of

            wells = read_wells(catalog)
            connection.register("wells", wells)
            connection.register("tops", tops_of(wells))
        try:
            kinds = [statement.type.name for statement in connection.extract_statements(text)]
            if len(kinds) != 1 or kinds[0] not in _QUERIES:
                raise CatalogQueryError(
                    f"SQL: {' and '.join(kinds) or 'nothing'} is not a single query; "
                    "give one SELECT on crystals, tiles, all_crystals, all_tiles, wells or tops"
                )
            result = run_within(connection, text, limits)
        except duckdb.Error as error:
            if is_of_reading(error):
                raise
            message, *more = [line.strip() for line in str(error).splitlines() if line.strip()]
            message = re.sub(r"^[\w ]+ Error: ", "", message)
            hints = [line for line in more if line.startswith("Candidate bindings")]
            raise CatalogQueryError(
                f"SQL: {' '.join([message, *hints])} (the tables are crystals and tiles, "
                "all_crystals and all_tiles with the rows of every model, and wells and tops)"
            ) from None
    return result.rename_columns(_distinct(result.column_names))


def _distinct(names: Sequence[str]) -> list[str]:
    """Column names made unique by the suffixes `_1`, `_2` …; a join repeats names."""
    distinct: list[str] = []
    for name in names:
        taken = itertools.chain([name], (f"{name}_{count}" for count in itertools.count(1)))
        distinct.append(next(candidate for candidate in taken if candidate not in distinct))
    return distinct
