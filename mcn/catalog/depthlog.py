"""Depth logs: how the crystals of a well change with depth, interval by interval."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from mcn.catalog.dataset import files
from mcn.catalog.query import known_wells, question
from mcn.catalog.storage import CatalogError, CatalogQueryError

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


# Where several models saw a tile, its latest row counts.
_TILES: Final = """
    CREATE TEMP TABLE seen AS
    SELECT * FROM (
        SELECT tile_id, segmenter, classifier, scanned_at, depth_m, status, crystal_area_fraction
        FROM tiles WHERE well = $well
        QUALIFY row_number() OVER (PARTITION BY tile_id ORDER BY scanned_at DESC) = 1
    ) WHERE status = 'ok'
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


def depth_log(catalog: Catalog, well: str, step_m: float | None = None) -> pa.Table:
    """Depth log of a well: one row an interval, from its first tile to its last.

    Parameters
    ----------
    catalog : Catalog
    well : str
    step_m : float, optional
        Length of the intervals in metres, which start at its multiples. None chooses 1, 2 or
        5 times a power of ten so that there are about 40 intervals, or fewer for few tiles.

    Returns
    -------
    pa.Table of schema `depth_log_schema(catalog.shapes)`
        Tiles that failed count for nothing; intervals without tiles are there, with nulls.

    Raises
    ------
    CatalogError
        For an unknown well, a well without a tile that could be read, or an unusable step.
    """
    if step_m is not None and not (math.isfinite(step_m) and step_m > 0):
        raise CatalogQueryError(f"a step of {step_m:g} m; give one above 0")
    now = catalog.snapshot()
    its_tiles = known_wells(catalog, now.tiles, [well])
    with question(catalog, its_tiles, files(now.crystals, [well])) as connection:
        connection.execute(_TILES, {"well": well})
        found = connection.sql(
            "SELECT min(depth_m), max(depth_m), count(DISTINCT depth_m) FROM seen"
        ).fetchall()
        top, base, depths = found[0]
        if not depths:
            raise CatalogQueryError(
                f"{catalog.uri}: no tile of well {well!r} could be read; see why with "
                '`mcn query CATALOG --sql "SELECT uri, error FROM tiles"`'
            )
        step = step_m or _step(base - top, depths)
        if (base - top) / step > _MOST_INTERVALS:
            raise CatalogQueryError(
                f"a step of {step:g} m makes over {_MOST_INTERVALS} intervals; give a larger one"
            )
        fractions = ", ".join(
            f"avg((shape = '{shape}')::INT) AS fraction_{shape}" for shape in catalog.shapes
        )
        asked = _LOG.format(fractions=fractions)
        logged = connection.sql(asked, params={"well": well, "step": step}).to_arrow_table()
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
    return pa.table(columns, names=schema.names).cast(schema)


def write_csv(log: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write a depth log as CSV, the columns of `depth_log_schema` with their names."""
    from pyarrow import csv

    with _writing(path):
        csv.write_csv(log, os.fspath(path))


def write_las(log: pa.Table, well: str, path: str | os.PathLike[str]) -> None:
    """Write a depth log as LAS 2.0 for well-log software.

    The depth of a row is the middle of its interval; -999.25 is null.

    References
    ----------
    Canadian Well Logging Society, *LAS Version 2.0: A Floppy Disk Standard for Log Data*,
    1992 (updated 2014).
    """
    import lasio

    las = lasio.LASFile()
    las.well["NULL"].value = -999.25
    # A line of a LAS header ends a value, and a colon starts the description.
    las.well["WELL"].value = " ".join(well.split()).replace(":", "-")
    las.well["SRVC"].value = "mcn, microcrystals in electron micrographs"
    middle = (log["depth_top"].to_numpy() + log["depth_base"].to_numpy()) / 2
    las.append_curve("DEPT", middle, unit="M", descr="Measured depth, middle of the interval")
    for mnemonic, unit, name, meaning in _curves(shapes_of_log(log)):
        values = log[name].cast(pa.float64()).to_numpy()
        las.append_curve(mnemonic, values, unit=unit, descr=meaning)
    with _writing(path), open(path, "w", encoding="utf-8", newline="\r\n") as file:
        las.write(file, version=2.0, fmt="%.8g")


def write_png(log: pa.Table, well: str, path: str | os.PathLike[str]) -> None:
    """Draw a depth log as PNG (`mcn.plots.depth_log_figure`)."""
    from mcn.plots import depth_log_figure

    with _writing(path):
        depth_log_figure(log, well).savefig(path, format="png")


def _curves(shapes: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Mnemonic, unit, column and meaning of each curve of a LAS file."""
    size = "equivalent circular diameter of crystals"
    return [
        ("NTIL", "", "n_tiles", "Tiles analysed"),
        ("NCRY", "", "n_crystals", "Crystals found"),
        *(
            (f"F{shape[:4].upper()}", "V/V", f"fraction_{shape}", f"Fraction of {shape} crystals")
            for shape in shapes
        ),
        (
            "FEUH",
            "V/V",
            "fraction_euhedral_to_subhedral",
            "Fraction of euhedral to subhedral crystals",
        ),
        ("DMEAN", "UM", "mean_equivalent_diameter_um", f"Mean {size}"),
        ("DQ25", "UM", "q25_equivalent_diameter_um", f"Lower quartile of {size}"),
        ("DMED", "UM", "median_equivalent_diameter_um", f"Median {size}"),
        ("DQ75", "UM", "q75_equivalent_diameter_um", f"Upper quartile of {size}"),
        ("CAF", "V/V", "crystal_area_fraction", "Crystal area fraction, mean of tiles"),
    ]


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
