"""Depth logs: statistics of the crystals of a well for each depth interval."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from mcn.catalog.active_files import files
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
_EUHEDRAL: Final = "fraction_euhedral_to_subhedral"


def depth_log_schema(shapes: Sequence[str]) -> pa.Schema:
    """Columns of a depth log: depths in metres, fractions 0 to 1, sizes in micrometres.

    An interval includes its top but not its base. Unknown values are null: all values of an
    interval without tiles, sizes without a pixel size, and the fraction of euhedral to subhedral
    crystals if the class list has other facet definitions than `euhedral_to_subhedral`,
    `euhedral`, `subhedral` and `anhedral`.
    """
    return pa.schema(
        [
            pa.field("depth_top", pa.float64(), nullable=False),
            pa.field("depth_base", pa.float64(), nullable=False),
            pa.field("n_tiles", pa.int64(), nullable=False),
            pa.field("n_crystals", pa.int64(), nullable=False),
            *(pa.field(f"fraction_{shape}", pa.float64()) for shape in shapes),
            pa.field(_EUHEDRAL, pa.float64()),
            pa.field("mean_equivalent_diameter_um", pa.float64()),
            pa.field("q25_equivalent_diameter_um", pa.float64()),
            pa.field("median_equivalent_diameter_um", pa.float64()),
            pa.field("q75_equivalent_diameter_um", pa.float64()),
            pa.field("crystal_area_fraction", pa.float64()),
        ]
    )


def shapes_of_log(log: pa.Table) -> list[str]:
    """The shapes with fractions in a depth log, in order."""
    fractions = [name for name in log.column_names if name.startswith("fraction_")]
    return [name.removeprefix("fraction_") for name in fractions if name != _EUHEDRAL]


_MODELS_KEY: Final = b"mcn.models"
_DATE_KEY: Final = b"mcn.scanned_on"

_TILES: Final = """
    CREATE TEMP TABLE seen AS
    SELECT tile_id, segmenter, classifier, scanned_at, depth_m, crystal_area_fraction
    FROM tiles WHERE well = $well AND status = 'ok'
"""
_FACTS: Final = """
    SELECT
        min(depth_m), max(depth_m), count(DISTINCT depth_m),
        max(scanned_at)::DATE::VARCHAR,
        list_sort(list(DISTINCT [segmenter, classifier]))
    FROM seen
"""
_LOG: Final = """
    SELECT * FROM (
        SELECT
            floor(depth_m / $step)::BIGINT AS interval_number,
            count(*) AS n_tiles,
            avg(crystal_area_fraction) AS crystal_area_fraction
        FROM seen GROUP BY ALL
    ) LEFT JOIN (
        SELECT
            floor(depth_m / $step)::BIGINT AS interval_number,
            count(*) AS n_crystals,
            {fractions},
            avg(
                CASE
                    WHEN facet IN ('euhedral_to_subhedral', 'euhedral', 'subhedral') THEN 1
                    WHEN facet = 'anhedral' THEN 0
                END
            ) AS fraction_euhedral_to_subhedral,
            avg(equivalent_diameter_um) AS mean_equivalent_diameter_um,
            quantile_cont(equivalent_diameter_um, 0.25) AS q25_equivalent_diameter_um,
            quantile_cont(equivalent_diameter_um, 0.5) AS median_equivalent_diameter_um,
            quantile_cont(equivalent_diameter_um, 0.75) AS q75_equivalent_diameter_um
        FROM crystal_rows
        SEMI JOIN seen USING (tile_id, segmenter, classifier, scanned_at)
        WHERE well = $well
        GROUP BY ALL
    ) USING (interval_number)
    ORDER BY interval_number
"""


def depth_log(
    catalog: Catalog,
    well: str,
    step_m: float | None = None,
    segmenter: str | None = None,
    classifier: str | None = None,
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

    Returns
    -------
    pa.Table of schema `depth_log_schema(catalog.shapes)`
        Failed tiles are ignored; intervals without tiles are included, with nulls.
        `models_of_log` gives the models it is from.

    Raises
    ------
    CatalogError
        For an unknown well or model, a well without a tile that could be read, or an unusable
        step.
    """
    if step_m is not None and not 0 < step_m <= _LONGEST_STEP_M:
        raise CatalogQueryError(
            f"a step of {step_m:g} m is impossible; give one above 0 and up to {_LONGEST_STEP_M:g}"
        )
    well = plain_well(well)
    snapshot = catalog.snapshot()
    tile_files = known_wells(catalog, snapshot.tiles, [well])
    crystal_files = files(snapshot.crystals, [well])
    models = find_models(catalog, snapshot.tiles, [well], segmenter, classifier)
    with open_views(catalog, tile_files, crystal_files, models) as connection:
        connection.execute(_TILES, {"well": well})
        top, base, depth_count, scanned_on, pairs = connection.sql(_FACTS).fetchall()[0]
        if not depth_count:
            by = "" if models == LATEST else f" by {models}"
            raise CatalogQueryError(
                f"{catalog.uri}: no tile of well {well!r} could be read{by}; see why with "
                '`mcn query CATALOG --sql "SELECT uri, error FROM tiles"`'
            )
        step = step_m or _step(base - top, depth_count)
        if (base - top) / step > _MAX_INTERVALS:
            raise CatalogQueryError(
                f"a step of {step:g} m makes over {_MAX_INTERVALS} intervals; give a larger one"
            )
        intervals = _intervals_with_tiles(connection, well, step, catalog.shapes)
    log = _with_empty_intervals(intervals, step, depth_log_schema(catalog.shapes))
    return log.replace_schema_metadata({_MODELS_KEY: json.dumps(pairs), _DATE_KEY: scanned_on})


def _intervals_with_tiles(
    connection: duckdb.DuckDBPyConnection, well: str, step: float, shapes: Sequence[str]
) -> pa.Table:
    """One row for each interval that has tiles, by `interval_number`."""
    # Shapes are arbitrary text, so they enter the query as parameters only.
    shape_of = {f"shape_{number}": shape for number, shape in enumerate(shapes)}
    fractions = ", ".join(f"avg((shape = ${key})::INT) AS {key}" for key in shape_of)
    rows = connection.sql(
        _LOG.format(fractions=fractions), params={"well": well, "step": step, **shape_of}
    ).to_arrow_table()
    names = {key: f"fraction_{shape}" for key, shape in shape_of.items()}
    return rows.rename_columns([names.get(name, name) for name in rows.column_names])


def _with_empty_intervals(intervals: pa.Table, step: float, schema: pa.Schema) -> pa.Table:
    """The depth log: intervals without tiles added, and the numbers turned into depths."""
    numbers = intervals["interval_number"].to_numpy()
    all_numbers = pa.table({"interval_number": np.arange(numbers[0], numbers[-1] + 1)})
    rows = all_numbers.join(intervals, "interval_number").sort_by("interval_number")
    number = rows["interval_number"].to_numpy()
    edges = {
        "depth_top": np.round(number * step, 9) + 0.0,
        "depth_base": np.round((number + 1) * step, 9) + 0.0,
    }
    columns = []
    for field in schema:
        column = pa.chunked_array([edges[field.name]]) if field.name in edges else rows[field.name]
        columns.append(column if field.nullable else column.fill_null(0))
    return pa.table(columns, names=schema.names).cast(schema)


def models_of_log(log: pa.Table) -> list[ModelPair]:
    """The models of the crystals in a depth log; empty if the table does not name them."""
    pairs = (log.schema.metadata or {}).get(_MODELS_KEY, b"[]")
    return [ModelPair(*pair) for pair in json.loads(pairs)]


def scan_date_of_log(log: pa.Table) -> str:
    """ISO date of the last scan in a depth log; empty if the table does not give it."""
    date: bytes = (log.schema.metadata or {}).get(_DATE_KEY, b"")
    return date.decode()


def write_csv(log: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write a depth log as CSV, the columns of `depth_log_schema` with their names."""
    from pyarrow import csv

    with explained_output(path):
        csv.write_csv(log, os.fspath(path))


def _step(span: float, depth_count: int) -> float:
    """1, 2 or 5 times a power of ten that gives no more intervals than useful."""
    least = span / min(_INTERVALS, max(1, depth_count))
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))
