"""Depth logs: statistics of the crystals of a well for each depth interval."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mcn.catalog.active_files import Depths
from mcn.catalog.depth_log.columns import depth_log_schema
from mcn.catalog.depth_log.statistics import LogSample, log_statistics
from mcn.catalog.depth_log.well_tiles import WellTiles, read_well_tiles
from mcn.catalog.depths import check_depth
from mcn.catalog.model_names import ModelPair
from mcn.catalog.storage import CatalogQueryError, explained_output

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

Floats = NDArray[np.float64]

_INTERVALS: Final = 40
"""Approximate number of intervals if no step is given; a page-high log can show as many."""

_MAX_INTERVALS: Final = 200_000
_LONGEST_STEP_M: Final = 1e5
_READ_CRYSTALS: Final = 1_000_000
"""Number of crystals in memory at a time, if no interval has more."""

_MODELS_KEY: Final = b"mcn.models"
_DATE_KEY: Final = b"mcn.scanned_on"
_TILES_KEY: Final = b"mcn.tile_depths"
_CORRECTED_KEY: Final = b"mcn.corrected"

_TILE_COLUMNS: Final = (
    "n_crystals",
    "pixel_size_um",
    "crystal_area_fraction",
    "visible_pore_fraction",
)
_CRYSTAL_COLUMNS: Final = (
    *("confidence", "bbox_w", "bbox_h", "touches_edge", "equivalent_diameter_um"),
    *("aspect_ratio", "circularity", "contact_fraction", "roundness", "completeness"),
)


@dataclass(frozen=True, eq=False)
class Intervals:
    """The intervals of a well that have tiles.

    Parameters
    ----------
    step : float
        Length in metres.
    top : float
        Where interval 0 begins, metres.
    number : (I,) int array
        Number of each interval, ascending.
    first_tile : (I + 1,) int array
        Interval i has the tiles from `first_tile[i]` up to `first_tile[i + 1]`, by depth.
    """

    step: float
    top: float
    number: NDArray[np.int64]
    first_tile: NDArray[np.intp]

    def edges(self, number: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Tops and bases of intervals in metres."""
        tops = np.round(self.top + number * self.step, 9) + 0.0
        return tops, np.round(self.top + (number + 1) * self.step, 9) + 0.0


def depth_log(
    catalog: Catalog,
    well: str,
    step_m: float | None = None,
    segmenter: str | None = None,
    classifier: str | None = None,
    *,
    depth: Depths | None = None,
    seed: int = 0,
    corrected: bool = False,
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
    corrected : bool
        Of the crystals as persons corrected them, also in their area; pores and tiles stay as
        scanned. The columns `corrected_…` are another thing: they correct for what pictures
        show less of.

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
    window = check_depth(depth)
    well_tiles = read_well_tiles(
        catalog, well, segmenter, classifier, window, _TILE_COLUMNS, corrected=corrected
    )
    intervals = split_intervals(well_tiles.depths, step_m, window)
    statistics = _statistics(well_tiles, intervals, seed)
    log = _table(statistics, intervals, depth_log_schema(catalog.shapes))
    failed_number = _interval_numbers(well_tiles.failed, intervals.step, window)
    failed_number -= intervals.number[0]
    inside = failed_number[(failed_number >= 0) & (failed_number < log.num_rows)]
    column = log.schema.get_field_index("n_failed_tiles")
    counts = pa.array(np.bincount(inside, minlength=log.num_rows), pa.int64())
    log = log.set_column(column, log.schema.field(column), counts)
    pairs = well_tiles.rows.select(["segmenter", "classifier"]).group_by(
        ["segmenter", "classifier"]
    )
    models = sorted([*pair.values()] for pair in pairs.aggregate([]).to_pylist())
    scanned_at = pc.max(well_tiles.rows["scanned_at"]).as_py()
    return log.replace_schema_metadata(
        {
            _MODELS_KEY: json.dumps(models),
            _DATE_KEY: scanned_at.astimezone(UTC).date().isoformat(),
            _TILES_KEY: well_tiles.depths.tobytes(),
            **({_CORRECTED_KEY: b"yes"} if corrected else {}),
        }
    )


def split_intervals(depths: Floats, step_m: float | None, window: Depths | None) -> Intervals:
    """The intervals that tiles lie in, as `depth_log` describes them.

    Parameters
    ----------
    depths : (T,) float array
        Of the tiles, ascending, at least one.
    step_m, window
        As `step_m` and `depth` of `depth_log`.

    Raises
    ------
    CatalogQueryError
        For an unusable step.
    """
    if step_m is not None and not 0 < step_m <= _LONGEST_STEP_M:
        raise CatalogQueryError(
            f"a step of {step_m:g} m is impossible; give one above 0 and up to {_LONGEST_STEP_M:g}"
        )
    low, _ = window or (None, None)
    step = step_m or _step(depths[-1] - (depths[0] if low is None else low), depths)
    if (depths[-1] - depths[0]) / step > _MAX_INTERVALS:
        raise CatalogQueryError(
            f"a step of {step:g} m makes over {_MAX_INTERVALS} intervals; give a larger one"
        )
    number, first_tile = np.unique(_interval_numbers(depths, step, window), return_index=True)
    return Intervals(step, low or 0.0, number, np.append(first_tile, len(depths)))


def _interval_numbers(depths: Floats, step: float, window: Depths | None) -> NDArray[np.int64]:
    """Number of the interval that each depth lies in, counted from the window's top or 0 m."""
    low, high = window or (None, None)
    number = np.floor((depths - (low or 0.0)) / step).astype(np.int64)
    if low is not None and high is not None:
        last = max(math.ceil((high - low) / step - 1e-9) - 1, 0)
        number = np.minimum(number, last)
    return number


def _statistics(well_tiles: WellTiles, intervals: Intervals, seed: int) -> dict[str, NDArray[Any]]:
    """Statistics of each interval with tiles, in order of depth."""
    tiles = well_tiles.columns()
    first_tile = intervals.first_tile
    parts = []
    for begin, end in _parts(first_tile, tiles["n_crystals"]):
        first, last = int(first_tile[begin]), int(first_tile[end])
        crystals = well_tiles.crystals(first, last, _CRYSTAL_COLUMNS)
        sample = LogSample(
            {name: values[first:last] for name, values in tiles.items()},
            crystals,
            crystals.pop("tile"),
            well_tiles.catalog.shapes,
            first_tile[begin : end + 1] - first,
        )
        parts.append(log_statistics(sample, seed))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


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


def _table(
    statistics: Mapping[str, NDArray[Any]], intervals: Intervals, schema: pa.Schema
) -> pa.Table:
    """The depth log, with a row for each interval from the first to the last."""
    all_numbers = np.arange(intervals.number[0], intervals.number[-1] + 1)
    edges = dict(zip(("depth_top", "depth_base"), intervals.edges(all_numbers), strict=True))
    place = intervals.number - intervals.number[0]
    columns = []
    for field in schema:
        if field.name in edges:
            columns.append(pa.array(edges[field.name]))
            continue
        # An interval without tiles has few.
        default = np.nan if field.nullable else float(field.name == "few_tiles")
        values: NDArray[Any] = np.full(len(all_numbers), default)
        values[place] = statistics.get(field.name, 0)
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


def is_corrected_log(log: pa.Table) -> bool:
    """Whether a depth log is of crystals as persons corrected them."""
    return _CORRECTED_KEY in (log.schema.metadata or {})


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
