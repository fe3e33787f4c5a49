"""Depth logs: how the crystals of a well change with depth, interval by interval."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from mcn.catalog.active_files import files
from mcn.catalog.las import las_text
from mcn.catalog.model_names import LATEST, ModelPair
from mcn.catalog.query import find_models, known_wells, open_views
from mcn.catalog.storage import CatalogError, CatalogQueryError
from mcn.catalog.wells import plain_well

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

_INTERVALS: Final = 40
"""About as many intervals as a page-high log shows apart; chosen where no step is given."""

_MOST_INTERVALS: Final = 200_000
_EUHEDRAL: Final = "fraction_euhedral_to_subhedral"


def depth_log_schema(shapes: Sequence[str]) -> pa.Schema:
    """Columns of a depth log: depths in metres, fractions 0 to 1, sizes in micrometres.

    An interval holds depths from its top up to, not including, its base. What is unknown is
    null: everything where no tile is, sizes where no pixel size is.
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
    """The shapes whose fractions a depth log holds, in their order."""
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
            avg((facet = 'euhedral_to_subhedral')::INT) AS fraction_euhedral_to_subhedral,
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
    """Depth log of a well: one row an interval, from its first tile to its last.

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
        Tiles that failed count for nothing; intervals without tiles are there, with nulls.
        `models_of_log` tells which models it is from.

    Raises
    ------
    CatalogError
        For an unknown well or model, a well without a tile that could be read, or an unusable
        step.
    """
    if step_m is not None and not (math.isfinite(step_m) and step_m > 0):
        raise CatalogQueryError(f"a step of {step_m:g} m; give one above 0")
    well = plain_well(well)
    now = catalog.snapshot()
    its_tiles = known_wells(catalog, now.tiles, [well])
    models = find_models(catalog, now.tiles, [well], segmenter, classifier)
    with open_views(catalog, its_tiles, files(now.crystals, [well]), models) as connection:
        connection.execute(_TILES, {"well": well})
        top, base, depths, scanned_on, pairs = connection.sql(_FACTS).fetchall()[0]
        if not depths:
            by = "" if models == LATEST else f" by {models}"
            raise CatalogQueryError(
                f"{catalog.uri}: no tile of well {well!r} could be read{by}; see why with "
                '`mcn query CATALOG --sql "SELECT uri, error FROM tiles"`'
            )
        step = step_m or _step(base - top, depths)
        if (base - top) / step > _MOST_INTERVALS:
            raise CatalogQueryError(
                f"a step of {step:g} m makes over {_MOST_INTERVALS} intervals; give a larger one"
            )
        shapes = {f"shape_{number}": shape for number, shape in enumerate(catalog.shapes)}
        fractions = ", ".join(f"avg((shape = ${key})::INT) AS {key}" for key in shapes)
        asked = _LOG.format(fractions=fractions)
        params = {"well": well, "step": step, **shapes}
        logged = connection.sql(asked, params=params).to_arrow_table()
    named = {key: f"fraction_{shape}" for key, shape in shapes.items()}
    logged = logged.rename_columns([named.get(name, name) for name in logged.column_names])
    numbers = logged["interval_number"].to_numpy()
    every = pa.table({"interval_number": np.arange(numbers[0], numbers[-1] + 1)})
    logged = every.join(logged, "interval_number").sort_by("interval_number")
    number = logged["interval_number"].to_numpy()
    edges = {
        "depth_top": np.round(number * step, 9) + 0.0,
        "depth_base": np.round((number + 1) * step, 9) + 0.0,
    }
    columns = []
    schema = depth_log_schema(catalog.shapes)
    for field in schema:
        column = (
            pa.chunked_array([edges[field.name]]) if field.name in edges else logged[field.name]
        )
        columns.append(column if field.nullable else column.fill_null(0))
    facts = {_MODELS_KEY: json.dumps(pairs), _DATE_KEY: scanned_on}
    log = pa.table(columns, names=schema.names).cast(schema)
    return log.replace_schema_metadata(facts)


def models_of_log(log: pa.Table) -> list[ModelPair]:
    """The models whose crystals a depth log counts; none where the table does not tell."""
    told = (log.schema.metadata or {}).get(_MODELS_KEY, b"[]")
    return [ModelPair(*pair) for pair in json.loads(told)]


def write_csv(log: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write a depth log as CSV, the columns of `depth_log_schema` with their names."""
    from pyarrow import csv

    with _writing(path):
        csv.write_csv(log, os.fspath(path))


def write_las(log: pa.Table, well: str, path: str | os.PathLike[str]) -> None:
    """Write a depth log as LAS 2.0 in plain ASCII for well-log software (`mcn.catalog.las`)."""
    scanned_on = (log.schema.metadata or {}).get(_DATE_KEY, b"").decode()
    text = las_text(log, well, shapes_of_log(log), models_of_log(log), scanned_on)
    with _writing(path), open(path, "w", encoding="ascii", newline="\r\n") as file:
        file.write(text)


def write_png(log: pa.Table, well: str, path: str | os.PathLike[str]) -> None:
    """Draw a depth log as PNG (`mcn.catalog.depth_log_plot.depth_log_figure`)."""
    from mcn.catalog.depth_log_plot import depth_log_figure

    with _writing(path):
        depth_log_figure(log, well).savefig(path, format="png")


def _step(span: float, depths: int) -> float:
    """1, 2 or 5 times a power of ten that gives no more intervals than are of use."""
    least = span / min(_INTERVALS, max(1, depths))
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


@contextmanager
def _writing(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CatalogError(
            f"{os.fspath(path)}: cannot be written ({error.strerror or error}); choose another file"
        ) from None
