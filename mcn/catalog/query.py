"""Queries of a catalogue: by well, depth and shape, or in SQL.

Every result comes from one snapshot and from the *latest models of each tile*: the row of
`tiles` that was scanned last, and the crystals committed with it. If the last scan of a tile
failed, the tile has no crystals, whatever older models detected. If a segmenter or classifier is
named, only its rows count. `_LATEST_TILES` is the single definition of this; queries, SQL, depth
logs, exports and the endpoint all use it.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.active_files import Depths, dataset, files
from mcn.catalog.corrected_rows import (
    CORRECTED,
    Corrections,
    corrected_crystals,
    read_corrections,
)
from mcn.catalog.depths import parse_depth as parse_depth
from mcn.catalog.integrity.damage import damage_named, is_of_reading
from mcn.catalog.model_names import LATEST, ModelPair, choose_models
from mcn.catalog.schema import TILES
from mcn.catalog.selection import Selection as Selection
from mcn.catalog.selection import check_columns, located, select
from mcn.catalog.storage import CatalogError, CatalogQueryError, explained
from mcn.catalog.wells import plain_well
from mcn.catalog.wells_table.table import read_wells, tops_of
from mcn.errors import unknown_name

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

    from mcn.catalog.store import Catalog, Snapshot

_BATCH_ROWS: Final = 250_000
"""Number of crystals that are read and sorted at a time."""

# Windows are partitioned by well, so that a condition on `well` selects the files to read.
_LATEST_TILES: Final = """
    SELECT * FROM tile_rows WHERE {chosen}
    QUALIFY row_number() OVER (
        PARTITION BY well, tile_id ORDER BY scanned_at DESC, segmenter, classifier
    ) = 1
"""
_ALL_TILES: Final = """
    SELECT * FROM tile_rows
    QUALIFY row_number() OVER (
        PARTITION BY well, tile_id, segmenter, classifier ORDER BY scanned_at DESC
    ) = 1
"""
_CRYSTALS: Final = """
    SELECT * FROM crystal_rows
    SEMI JOIN {tiles} USING (tile_id, segmenter, classifier, scanned_at)
"""
_ORPHANS: Final = """
    SELECT count(*) FROM crystal_rows
    ANTI JOIN tile_rows USING (tile_id, segmenter, classifier, scanned_at)
"""
_READING_STATEMENTS: Final = {"SELECT", "EXPLAIN", "MULTI"}  # PIVOT is parsed as MULTI


def query(
    catalog: Catalog,
    wells: Sequence[str] = (),
    depth: Depths | None = None,
    shapes: Sequence[str] = (),
    limit: int | None = None,
    segmenter: str | None = None,
    classifier: str | None = None,
    *,
    corrected: bool = False,
) -> pa.Table:
    """Crystals by well, depth and shape, ordered by well, depth and `crystal_id`.

    Parameters
    ----------
    catalog : Catalog
    wells, depth, shapes, segmenter, classifier, corrected
        As in `Selection`.
    limit : int, optional
        Maximum number of rows.

    Returns
    -------
    pa.Table of schema `catalog.crystals_schema`
        Corrected crystals have the columns of `mcn.catalog.corrected_rows.CORRECTED` too.

    Raises
    ------
    CatalogQueryError
        For wells, shapes and models that do not exist (the message names those that do), and
        for depths that are reversed or not numbers.

    Examples
    --------
    >>> query(Catalog.open("core/catalog"), ["A-1"], (1200.0, 1250.0))  # doctest: +SKIP
    """
    selection = Selection(wells, depth, shapes, segmenter, classifier, corrected=corrected)
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
    check_columns(selection, catalog.shapes, catalog.crystals_schema)
    snapshot = snapshot or catalog.snapshot()
    schema = catalog.crystals_schema
    if selection.corrected:
        schema = pa.schema([*schema, *CORRECTED])
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
    crystal_files = files(snapshot.crystals, selection.wells, selection.read_depths())
    corrections = corrections_of(catalog, selection.wells) if selection.corrected else None
    left = limit
    yield schema.empty_table()
    for part, part_corrections in _parts(
        catalog, crystal_files, corrections, _BATCH_ROWS if limit is None else limit
    ):
        if left == 0:
            return
        wells = pc.unique(part["partition.well"])
        part_tiles = tile_files
        if part_corrections is None or not part_corrections.added.num_rows:
            part_tiles = tile_files.filter(pc.is_in(tile_files["partition.well"], wells))
        with open_views(catalog, part_tiles, part, models, part_corrections) as connection:
            piece = select(connection, selection, left, schema)
        if left is not None:
            left -= piece.num_rows
        yield piece


def corrections_of(catalog: Catalog, wells: Sequence[str] = ()) -> Corrections:
    """The corrections of a catalogue's wells as they are now; of all wells if none is named."""
    return read_corrections(catalog.uri, catalog.corrections(), catalog.shapes, wells)


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


def sql(
    catalog: Catalog,
    text: str,
    segmenter: str | None = None,
    classifier: str | None = None,
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
    corrected : bool
        `crystals` has corrected values and the columns of `mcn.catalog.corrected_rows.CORRECTED`,
        and the view `corrections` has every correction.

    Raises
    ------
    CatalogQueryError
        For SQL that DuckDB rejects, for statements other than a query, and for unknown models.
    CatalogStorageError
        If the data cannot be read.
    """
    import duckdb

    snapshot = catalog.snapshot()
    models = find_models(catalog, snapshot.tiles, (), segmenter, classifier)
    corrections = corrections_of(catalog) if corrected else None
    with open_views(
        catalog, files(snapshot.tiles), files(snapshot.crystals), models, corrections
    ) as connection:
        if re.search(r"\b(wells|tops)\b", text, re.IGNORECASE):
            wells = read_wells(catalog)
            connection.register("wells", wells)
            connection.register("tops", tops_of(wells))
        try:
            kinds = [statement.type.name for statement in connection.extract_statements(text)]
            if len(kinds) != 1 or kinds[0] not in _READING_STATEMENTS:
                raise CatalogQueryError(
                    f"SQL: {' and '.join(kinds) or 'nothing'} is not a single query; "
                    "give one SELECT on crystals, tiles, all_crystals, all_tiles, wells or tops"
                )
            result: pa.Table = connection.sql(text).to_arrow_table()
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


def known_wells(catalog: Catalog, tiles: DeltaTable, wells: Sequence[str]) -> pa.Table:
    """Data files of these wells' tiles; of all tiles if no well is named.

    Raises
    ------
    CatalogQueryError
        For a well without tiles; the message names the existing wells.
    """
    tile_files = files(tiles, wells)
    if unknown := sorted({*map(plain_well, wells)} - {*tile_files["partition.well"].to_pylist()}):
        existing = sorted({*files(tiles)["partition.well"].to_pylist()})
        raise CatalogQueryError(f"{catalog.uri}: {unknown_name('well', unknown[0], existing)}")
    return tile_files


def find_models(
    catalog: Catalog,
    tiles: DeltaTable,
    wells: Sequence[str] = (),
    segmenter: str | None = None,
    classifier: str | None = None,
) -> ModelPair:
    """The models that full or shortened names refer to.

    A short name must be unique in the whole catalogue, not only in the wells. If both names are
    given in full, it is enough to look at the files of the wells.

    Raises
    ------
    CatalogQueryError
        For a name that matches no model or several; the message names the existing models.
    """
    named = ModelPair(segmenter, classifier)
    if named == LATEST:
        return named
    if wells and named.is_among(_models_of(catalog, files(tiles, wells))):
        return named
    return choose_models(catalog.uri, named, _models_of(catalog, files(tiles)))


def _models_of(catalog: Catalog, tile_files: pa.Table) -> list[ModelPair]:
    """Pairs of models that have rows in these files, sorted by name."""
    with open_views(catalog, tile_files) as connection:
        rows = connection.sql(
            "SELECT DISTINCT segmenter, classifier FROM tile_rows ORDER BY ALL"
        ).fetchall()
    return [ModelPair(*row) for row in rows]


@functools.cache
def _database() -> duckdb.DuckDBPyConnection:
    """An empty in-memory database without access to files, network and Python variables."""
    import duckdb

    # SQL can read DuckDB's temporary directory, so there must be none.
    database = duckdb.connect(config={"python_enable_replacements": False, "temp_directory": ""})
    database.execute(
        "SET GLOBAL TimeZone = 'UTC'; SET enable_external_access = false;"
        "SET lock_configuration = true"
    )
    return database


@contextmanager
def open_views(
    catalog: Catalog,
    tile_files: pa.Table,
    crystal_files: pa.Table | None = None,
    models: ModelPair = LATEST,
    corrections: Corrections | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with views of these files and access to nothing else.

    `tiles` and `crystals` hold the rows of the latest models of each tile, or of `models` if
    they are named. `all_tiles` and `all_crystals` hold the rows of all models. `tile_rows` and
    `crystal_rows` hold all rows as committed, including replaced ones. With `corrections`, those of
    `crystals` have corrected values, `model_crystals` holds them as the models found them, and
    `corrections` every correction.
    """
    import duckdb

    with explained(catalog.uri), _database().cursor() as connection:
        tiles = dataset(f"{catalog.uri}/tiles", TILES, tile_files)
        connection.register("tile_rows", tiles)
        latest = _LATEST_TILES.format(chosen=models.condition())
        connection.execute(f"CREATE TEMP VIEW tiles AS {latest}")
        connection.execute(f"CREATE TEMP VIEW all_tiles AS {_ALL_TILES}")
        if crystal_files is not None:
            crystals = dataset(f"{catalog.uri}/crystals", catalog.crystals_schema, crystal_files)
            connection.register("crystal_rows", crystals)
            latest_crystals = "crystals" if corrections is None else "model_crystals"
            for view, tile_view in ((latest_crystals, "tiles"), ("all_crystals", "all_tiles")):
                rows = _CRYSTALS.format(tiles=tile_view)
                connection.execute(f"CREATE TEMP VIEW {view} AS {rows}")
            if corrections is not None:
                connection.register("corrections", corrections.rows)
                connection.register("changed_crystals", corrections.changed)
                connection.register("added_crystals", corrections.added)
                rows = corrected_crystals(catalog.crystals_schema.names, catalog.depth_bin_m)
                connection.execute(f"CREATE TEMP VIEW crystals AS {rows}")
        read = {"tiles": tile_files}
        read |= {} if crystal_files is None else {"crystals": crystal_files}
        try:
            with damage_named(catalog.uri, read):
                yield connection
        except duckdb.Error as error:
            raise CatalogError(f"{catalog.uri}: {' '.join(str(error).split())}") from error


def count_orphans(connection: duckdb.DuckDBPyConnection) -> int:
    """Number of committed crystals without a tile row, in the views of `open_views`."""
    return int(connection.sql(_ORPHANS).fetchall()[0][0])


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


def _distinct(names: Sequence[str]) -> list[str]:
    """Column names made unique by the suffixes `_1`, `_2` …; a join repeats names."""
    distinct: list[str] = []
    for name in names:
        taken = itertools.chain([name], (f"{name}_{count}" for count in itertools.count(1)))
        distinct.append(next(candidate for candidate in taken if candidate not in distinct))
    return distinct
