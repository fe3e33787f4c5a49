"""Questions to a catalogue: by well, depth and shape, or in SQL.

Every answer comes from one snapshot and holds *visible* rows only: of each tile and pair of
models the latest row of `tiles`, and the crystals that were committed with it.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.damage import damage_named, is_of_reading
from mcn.catalog.dataset import Depths, dataset, files
from mcn.catalog.schema import TILES
from mcn.catalog.storage import CatalogError, CatalogQueryError, explained

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

    from mcn.catalog.store import Catalog, Snapshot

_PIECE_ROWS: Final = 250_000
"""Crystals of consecutive partitions that are read and sorted at a time."""

_VISIBLE_TILES: Final = """
    SELECT * FROM tile_rows
    QUALIFY row_number() OVER (
        PARTITION BY tile_id, segmenter, classifier ORDER BY scanned_at DESC
    ) = 1
"""
_VISIBLE_CRYSTALS: Final = """
    SELECT * FROM crystal_rows
    SEMI JOIN tiles USING (tile_id, segmenter, classifier, scanned_at)
"""
_READING_STATEMENTS: Final = {"SELECT", "EXPLAIN", "MULTI"}  # PIVOT is parsed as MULTI


@dataclass(frozen=True)
class Selection:
    """Which crystals are asked for; what is left empty does not restrict.

    Parameters
    ----------
    wells, shapes : sequence of str
    depth : (float or None, float or None) or None
        Measured depths in metres, both ends included; None is open.
    segmenter, classifier : str or None
        Models as the catalogue names them, such as `compact@0123456789ab`.
    after : (float, str) or None
        Of one well: only crystals behind the one of this depth and `crystal_id`.
    """

    wells: Sequence[str] = ()
    depth: Depths | None = None
    shapes: Sequence[str] = ()
    segmenter: str | None = None
    classifier: str | None = None
    after: tuple[float, str] | None = None


def query(
    catalog: Catalog,
    wells: Sequence[str] = (),
    depth: Depths | None = None,
    shapes: Sequence[str] = (),
    limit: int | None = None,
    segmenter: str | None = None,
    classifier: str | None = None,
) -> pa.Table:
    """Crystals by well, depth and shape, ordered by well, depth and `crystal_id`.

    Parameters
    ----------
    catalog : Catalog
    wells, depth, shapes, segmenter, classifier
        As in `Selection`.
    limit : int, optional
        Most rows to give.

    Returns
    -------
    pa.Table of schema `catalog.crystals_schema`

    Raises
    ------
    CatalogQueryError
        For wells and shapes that do not exist, naming those that do.

    Examples
    --------
    >>> query(Catalog.open("core/catalog"), ["A-1"], (1200.0, 1250.0))  # doctest: +SKIP
    """
    selection = Selection(wells, depth, shapes, segmenter, classifier)
    return pa.concat_tables(pieces_of(catalog, selection, limit))


def pieces_of(
    catalog: Catalog,
    selection: Selection = Selection(),
    limit: int | None = None,
    snapshot: Snapshot | None = None,
) -> Iterator[pa.Table]:
    """The answer of `query` in order, piece by piece, for answers larger than memory.

    The first piece is empty, so that there always is one.
    """
    if limit is not None and limit < 0:
        raise CatalogQueryError(f"a limit of {limit} rows; give 0 or more")
    if unknown := [shape for shape in selection.shapes if shape not in catalog.shapes]:
        raise CatalogQueryError(_unknown("shape", unknown[0], catalog.shapes))
    snapshot = snapshot or catalog.snapshot()
    tile_files = known_wells(catalog, snapshot.tiles, selection.wells)
    crystal_files = files(snapshot.crystals, selection.wells, _depths(selection))
    left = limit
    yield catalog.crystals_schema.empty_table()
    for part in _consecutive(crystal_files, _PIECE_ROWS if limit is None else limit):
        if left == 0:
            return
        wells = pc.unique(part["partition.well"])
        its_tiles = tile_files.filter(pc.is_in(tile_files["partition.well"], wells))
        with question(catalog, its_tiles, part) as connection:
            piece = _select(connection, selection, left, catalog.crystals_schema)
        if left is not None:
            left -= piece.num_rows
        yield piece


def sql(catalog: Catalog, text: str) -> pa.Table:
    """Answer of one SQL question (DuckDB's dialect) to the views `crystals` and `tiles`.

    Nothing but the two views can be read and nothing can be written: files, network and
    settings are locked away from the text. A condition on `well` or `depth_bin` spares
    reading the other wells and bins.

    Raises
    ------
    CatalogQueryError
        For anything DuckDB refuses, and for statements other than a question.
    CatalogStorageError
        Where the data cannot be read.
    """
    import duckdb

    now = catalog.snapshot()
    with question(catalog, files(now.tiles), files(now.crystals)) as connection:
        try:
            kinds = [statement.type.name for statement in connection.extract_statements(text)]
            if len(kinds) != 1 or kinds[0] not in _READING_STATEMENTS:
                raise CatalogQueryError(
                    f"SQL: {' and '.join(kinds) or 'nothing'} is not one question; "
                    "give one SELECT on crystals and tiles"
                )
            answer: pa.Table = connection.sql(text).to_arrow_table()
        except duckdb.Error as error:
            if is_of_reading(error):
                raise
            told, *more = [line.strip() for line in str(error).splitlines() if line.strip()]
            told = re.sub(r"^[\w ]+ Error: ", "", told)
            hints = [line for line in more if line.startswith("Candidate bindings")]
            raise CatalogQueryError(
                f"SQL: {' '.join([told, *hints])} (the tables are crystals and tiles)"
            ) from None
    return answer.rename_columns(_distinct(answer.column_names))


def known_wells(catalog: Catalog, tiles: DeltaTable, wells: Sequence[str]) -> pa.Table:
    """Data files of these wells' tiles; of all tiles where no well is named.

    Raises
    ------
    CatalogQueryError
        For a well that has no tile, naming those that have.
    """
    found = files(tiles, wells)
    if unknown := sorted({*wells} - {*found["partition.well"].to_pylist()}):
        existing = sorted({*files(tiles)["partition.well"].to_pylist()})
        raise CatalogQueryError(f"{catalog.uri}: {_unknown('well', unknown[0], existing)}")
    return found


def parse_depth(text: str) -> Depths:
    """Depth range `"1200:1250"`, `"1200:"` or `":1250"` as (lowest, highest) in metres.

    Raises
    ------
    CatalogQueryError
        Where it is no range of numbers, or is reversed.
    """
    ends = text.split(":")
    wrong = f"depth {text!r} is not a range in metres; write it as 1200:1250, 1200: or :1250"
    try:
        low, high = (float(end) if end.strip() else None for end in ends)
    except ValueError:
        raise CatalogQueryError(wrong) from None
    known = [end for end in (low, high) if end is not None]
    if not known or not all(map(math.isfinite, known)):
        raise CatalogQueryError(wrong)
    if low is not None and high is not None and low > high:
        raise CatalogQueryError(
            f"depth {text!r} is reversed; write the smaller depth first: {high:g}:{low:g}"
        )
    return low, high


@functools.cache
def _database() -> duckdb.DuckDBPyConnection:
    """An empty database in memory that can reach no file, no network and no variable."""
    import duckdb

    # DuckDB lets SQL into its temporary directory, so there must be none.
    database = duckdb.connect(config={"python_enable_replacements": False, "temp_directory": ""})
    database.execute(
        "SET GLOBAL TimeZone = 'UTC'; SET enable_external_access = false;"
        "SET lock_configuration = true"
    )
    return database


@contextmanager
def question(
    catalog: Catalog, tile_files: pa.Table, crystal_files: pa.Table | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the views `tiles` and `crystals` of these files, and nothing else in reach.

    Beside them `tile_rows` and `crystal_rows` hold the rows as committed, visible or not.
    """
    import duckdb

    with explained(catalog.uri), _database().cursor() as connection:
        tiles = dataset(f"{catalog.uri}/tiles", TILES, tile_files)
        connection.register("tile_rows", tiles)
        connection.execute(f"CREATE TEMP VIEW tiles AS {_VISIBLE_TILES}")
        if crystal_files is not None:
            crystals = dataset(f"{catalog.uri}/crystals", catalog.crystals_schema, crystal_files)
            connection.register("crystal_rows", crystals)
            connection.execute(f"CREATE TEMP VIEW crystals AS {_VISIBLE_CRYSTALS}")
        read = {"tiles": tile_files}
        read |= {} if crystal_files is None else {"crystals": crystal_files}
        try:
            with damage_named(catalog, read):
                yield connection
        except duckdb.Error as error:
            raise CatalogError(f"{catalog.uri}: {' '.join(str(error).split())}") from error


def _depths(selection: Selection) -> Depths | None:
    """The depths that files may hold crystals of."""
    if selection.after is None:
        return selection.depth
    low, high = selection.depth or (None, None)
    return selection.after[0] if low is None else max(low, selection.after[0]), high


def _select(
    connection: duckdb.DuckDBPyConnection,
    selection: Selection,
    limit: int | None,
    schema: pa.Schema,
) -> pa.Table:
    """One piece of an answer; its wells are chosen by its files already."""
    low, high = selection.depth or (None, None)
    depth, crystal = selection.after or (None, None)
    asked: list[tuple[str, str, object]] = [
        ("depth_m >= $depth", "depth", depth),
        ("(depth_m > $depth OR crystal_id > $crystal)", "crystal", crystal),
        ("depth_m >= $low", "low", low),
        ("depth_m <= $high", "high", high),
        ("list_contains($shapes, shape)", "shapes", list(selection.shapes) or None),
        ("segmenter = $segmenter", "segmenter", selection.segmenter),
        ("classifier = $classifier", "classifier", selection.classifier),
    ]
    asked = [one for one in asked if one[2] is not None]
    rows = connection.sql(
        f"SELECT * FROM crystals WHERE {' AND '.join(['true', *(one[0] for one in asked)])} "
        f"ORDER BY well, depth_m, crystal_id {'' if limit is None else f'LIMIT {limit:d}'}",
        params={name: value for _, name, value in asked},
    )
    return rows.to_arrow_table().select(schema.names).cast(schema)


def _consecutive(found: pa.Table, first_rows: int) -> Iterator[pa.Table]:
    """Files of whole partitions in order of well and depth, in pieces that grow."""
    ordered = found.sort_by([("partition.well", "ascending"), ("partition.depth_bin", "ascending")])
    bins = ordered["partition.depth_bin"].to_pylist()
    wells = ordered["partition.well"].to_pylist()
    start, rows, enough = 0, 0, first_rows
    for index, count in enumerate(ordered["num_records"].to_pylist()):
        inside = index and (wells[index], bins[index]) == (wells[index - 1], bins[index - 1])
        if rows >= enough and not inside:
            yield ordered.slice(start, index - start)
            start, rows, enough = index, 0, min(4 * enough, _PIECE_ROWS)
        rows += count or 0
    if start < ordered.num_rows:
        yield ordered.slice(start)


def _distinct(names: Sequence[str]) -> list[str]:
    """Column names with `_1`, `_2` … behind those that came before: a join has them twice."""
    distinct: list[str] = []
    for name in names:
        taken = itertools.chain([name], (f"{name}_{count}" for count in itertools.count(1)))
        distinct.append(next(one for one in taken if one not in distinct))
    return distinct


def _unknown(kind: str, name: str, existing: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, existing, n=3, cutoff=0.5)
    if close:
        return f"no {kind} {name!r}; did you mean {' or '.join(map(repr, close))}?"
    some = ", ".join(map(repr, existing[:10])) + (", …" if len(existing) > 10 else "")
    return f"no {kind} {name!r}; there are {some or 'none yet'}"
