"""Depth logs: statistics of the crystals of a well for each depth interval."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mcn.catalog.active_files import Depths, files
from mcn.catalog.depth_log.columns import depth_log_schema
from mcn.catalog.depth_log.statistics import IntervalSample, interval_statistics
from mcn.catalog.depths import check_depth
from mcn.catalog.model_names import LATEST, ModelPair
from mcn.catalog.query import find_models, known_wells, open_views
from mcn.catalog.storage import CatalogQueryError, explained_output
from mcn.catalog.wells import plain_well

if TYPE_CHECKING:
    import duckdb

    from mcn.catalog.store import Catalog

_INTERVALS: Final = 40
"""Approximate number of intervals if no step is given; a page-high log can show as many."""

_MAX_INTERVALS: Final = 200_000
_LONGEST_STEP_M: Final = 1e5
_READ_CRYSTALS: Final = 1_000_000
"""Number of crystals in memory at a time, if no interval has more."""

_MODELS_KEY: Final = b"mcn.models"
_DATE_KEY: Final = b"mcn.scanned_on"
_TILES_KEY: Final = b"mcn.tile_depths"

# Numbered in order of depth, so that the same catalogue always gives the same log.
_TILES: Final = """
    CREATE TEMP TABLE seen AS
    SELECT
        row_number() OVER (ORDER BY depth_m, tile_id) - 1 AS tile,
        tile_id, segmenter, classifier, scanned_at, depth_m, n_crystals, pixel_size_um,
        crystal_area_fraction, visible_pore_fraction, width, coalesce(data_bar_y, height) AS height
    FROM tiles WHERE well = $well AND status = 'ok' AND depth_m BETWEEN $low AND $high
"""
_FAILED: Final = """
    SELECT depth_m FROM tiles
    WHERE well = $well AND status <> 'ok' AND depth_m BETWEEN $low AND $high
"""
_FACTS: Final = """
    SELECT max(scanned_at)::DATE::VARCHAR, list_sort(list(DISTINCT [segmenter, classifier]))
    FROM seen
"""
_TILE_COLUMNS: Final = """
    SELECT
        depth_m, n_crystals::DOUBLE AS n_crystals, pixel_size_um, crystal_area_fraction,
        visible_pore_fraction, width::DOUBLE AS width, height::DOUBLE AS height
    FROM seen ORDER BY tile
"""
_CRYSTALS: Final = """
    SELECT
        tile, list_position($shapes, shape) - 1 AS shape,
        CASE
            WHEN facet IN ('euhedral_to_subhedral', 'euhedral', 'subhedral') THEN 1.0::DOUBLE
            WHEN facet = 'anhedral' THEN 0.0::DOUBLE
        END AS is_euhedral,
        confidence, bbox_w, bbox_h, touches_edge, equivalent_diameter_um, aspect_ratio,
        circularity, contact_fraction, roundness, completeness
    FROM crystal_rows
    JOIN (SELECT * FROM seen WHERE tile BETWEEN $first AND $last)
    USING (tile_id, segmenter, classifier, scanned_at)
    WHERE well = $well
    ORDER BY tile, crystal_id
"""


def depth_log(
    catalog: Catalog,
    well: str,
    step_m: float | None = None,
    segmenter: str | None = None,
    classifier: str | None = None,
    *,
    depth: Depths | None = None,
    seed: int = 0,
) -> pa.Table:
    """Depth log of a well: one row per interval, from its first tile to its last.

    Parameters
    ----------
    catalog : Catalog
    well : str
    step_m : float, optional
        Length of the intervals in metres, which start at its multiples. None chooses 1, 2 or
        5 times a power of ten so that there are about 40 intervals, or fewer for few tiles.
    segmenter, classifier : str, optional
        As in `mcn.catalog.query.Selection`.
    depth : (float or None, float or None), optional
        Only tiles from the first to the second depth in metres, both included; None is open.
        With a first depth, intervals start there, and the last one includes its base if that is
        the second depth: a window as long as the step is one interval.
    seed : int
        Seed of the resampled tiles that the 95 % intervals are from.

    Returns
    -------
    pa.Table of schema `mcn.catalog.depth_log.columns.depth_log_schema(catalog.shapes)`
        Intervals without tiles are included, with nulls. `models_of_log` gives the models it is
        from.

    Raises
    ------
    CatalogError
        For an unknown well or model, a well without a tile that could be read, an impossible
        depth range, or an unusable step.
    """
    if step_m is not None and not 0 < step_m <= _LONGEST_STEP_M:
        raise CatalogQueryError(
            f"a step of {step_m:g} m is impossible; give one above 0 and up to {_LONGEST_STEP_M:g}"
        )
    well = plain_well(well)
    low, high = check_depth(depth) or (None, None)
    window = {
        "well": well,
        "low": -math.inf if low is None else low,
        "high": math.inf if high is None else high,
    }
    snapshot = catalog.snapshot()
    tile_files = known_wells(catalog, snapshot.tiles, [well])
    crystal_files = files(snapshot.crystals, [well], None if depth is None else (low, high))
    models = find_models(catalog, snapshot.tiles, [well], segmenter, classifier)
    with open_views(catalog, tile_files, crystal_files, models) as connection:
        connection.execute(_TILES, window)
        tiles = _numpy(connection.sql(_TILE_COLUMNS).to_arrow_table())
        depths = tiles["depth_m"]
        if not len(depths):
            raise CatalogQueryError(_no_tiles(catalog, well, models, depth))
        scanned_on, pairs = connection.sql(_FACTS).fetchall()[0]
        failed = connection.sql(_FAILED, params=window).to_arrow_table()["depth_m"].to_numpy()
        step = step_m or _step(depths[-1] - (depths[0] if low is None else low), depths)
        if (depths[-1] - depths[0]) / step > _MAX_INTERVALS:
            raise CatalogQueryError(
                f"a step of {step:g} m makes over {_MAX_INTERVALS} intervals; give a larger one"
            )
        number = _interval_numbers(depths, step, low, high)
        rows = _intervals(connection, well, tiles, number, catalog.shapes, seed)
        log = _table(rows, number, step, low or 0.0, depth_log_schema(catalog.shapes))
    failed_number = _interval_numbers(failed, step, low, high) - number[0]
    inside = failed_number[(failed_number >= 0) & (failed_number < log.num_rows)]
    column = log.schema.get_field_index("n_failed_tiles")
    counts = pa.array(np.bincount(inside, minlength=log.num_rows), pa.int64())
    log = log.set_column(column, log.schema.field(column), counts)
    return log.replace_schema_metadata(
        {_MODELS_KEY: json.dumps(pairs), _DATE_KEY: scanned_on, _TILES_KEY: depths.tobytes()}
    )


def _no_tiles(catalog: Catalog, well: str, models: ModelPair, depth: Depths | None) -> str:
    by = "" if models == LATEST else f" by {models}"
    at = "" if depth is None else " at these depths"
    return (
        f"{catalog.uri}: no tile of well {well!r} could be read{by}{at}; see why with "
        '`mcn query CATALOG --sql "SELECT uri, depth_m, error FROM tiles"`'
    )


def _interval_numbers(
    depths: NDArray[np.float64], step: float, low: float | None, high: float | None
) -> NDArray[np.int64]:
    """Number of the interval that each depth lies in, counted from the window's top or 0 m."""
    top = low or 0.0
    number = np.floor((depths - top) / step).astype(np.int64)
    if low is not None and high is not None:
        last = max(math.ceil((high - low) / step - 1e-9) - 1, 0)
        number = np.minimum(number, last)
    return number


def _intervals(
    connection: duckdb.DuckDBPyConnection,
    well: str,
    tiles: Mapping[str, NDArray[Any]],
    number: NDArray[np.int64],
    shapes: tuple[str, ...],
    seed: int,
) -> list[dict[str, Any]]:
    """Statistics of each interval with tiles, in order of depth."""
    first_tile = np.append(np.flatnonzero(np.diff(number, prepend=number[0] - 1)), len(number))
    rows = []
    for begin, end in _parts(first_tile, tiles["n_crystals"]):
        span = {"first": int(first_tile[begin]), "last": int(first_tile[end]) - 1}
        crystals = _numpy(
            connection.sql(
                _CRYSTALS, params={"well": well, "shapes": list(shapes), **span}
            ).to_arrow_table()
        )
        tile = crystals.pop("tile")
        first_crystal = np.searchsorted(tile, first_tile[begin : end + 1])
        for interval in range(begin, end):
            chosen = slice(*first_crystal[interval - begin : interval - begin + 2])
            inside = slice(first_tile[interval], first_tile[interval + 1])
            sample = IntervalSample(
                {name: values[inside] for name, values in tiles.items()},
                {name: values[chosen] for name, values in crystals.items()},
                tile[chosen] - first_tile[interval],
                shapes,
            )
            rows.append(interval_statistics(sample, seed))
    return rows


def _parts(
    first_tile: NDArray[np.intp], n_crystals: NDArray[np.float64]
) -> Iterator[tuple[int, int]]:
    """Runs of intervals that hold no more crystals than are read at a time."""
    before = np.concatenate([[0.0], np.cumsum(n_crystals)])[first_tile]
    begin = 0
    while begin < len(first_tile) - 1:
        end = int(np.searchsorted(before, before[begin] + _READ_CRYSTALS, side="right")) - 1
        end = min(max(end, begin + 1), len(first_tile) - 1)
        yield begin, end
        begin = end


def _numpy(table: pa.Table) -> dict[str, NDArray[Any]]:
    """Columns as arrays; null is NaN."""
    columns = {}
    for name in table.column_names:
        values = table[name].to_numpy()
        columns[name] = values.astype(np.float64) if values.dtype.kind == "f" else values
    return columns


def _table(
    rows: Sequence[Mapping[str, Any]],
    number: NDArray[np.int64],
    step: float,
    top: float,
    schema: pa.Schema,
) -> pa.Table:
    """The depth log, with a row for each interval from the first to the last."""
    all_numbers = np.arange(number[0], number[-1] + 1)
    edges = {
        "depth_top": np.round(top + all_numbers * step, 9) + 0.0,
        "depth_base": np.round(top + (all_numbers + 1) * step, 9) + 0.0,
    }
    place = np.unique(number) - number[0]
    columns = []
    for field in schema:
        if field.name in edges:
            columns.append(pa.array(edges[field.name]))
            continue
        values: NDArray[Any] = np.full(len(all_numbers), np.nan if field.nullable else 0)
        values[place] = [row.get(field.name, 0) for row in rows]
        if not field.nullable:
            values = values.astype(field.type.to_pandas_dtype())
        columns.append(pa.array(values, field.type, from_pandas=True))
    return pa.table(columns, schema=schema)


def models_of_log(log: pa.Table) -> list[ModelPair]:
    """The models of the crystals in a depth log; empty if the table does not name them."""
    pairs = (log.schema.metadata or {}).get(_MODELS_KEY, b"[]")
    return [ModelPair(*pair) for pair in json.loads(pairs)]


def scan_date_of_log(log: pa.Table) -> str:
    """ISO date of the last scan in a depth log; empty if the table does not give it."""
    date: bytes = (log.schema.metadata or {}).get(_DATE_KEY, b"")
    return date.decode()


def tile_depths_of_log(log: pa.Table) -> NDArray[np.float64]:
    """Depths of the tiles in a depth log in metres, ascending; empty if it does not give them."""
    return np.frombuffer((log.schema.metadata or {}).get(_TILES_KEY, b""), np.float64)


def write_csv(log: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write a depth log as CSV, the columns of `depth_log_schema` with their names."""
    from pyarrow import csv

    with explained_output(path):
        csv.write_csv(log, os.fspath(path))


def _step(span: float, depths: NDArray[np.float64]) -> float:
    """1, 2 or 5 times a power of ten that gives no more intervals than useful."""
    least = span / min(_INTERVALS, max(1, len(np.unique(depths))))
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))
