"""Zones of a well: intervals of a depth log between which the rock changes."""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mcn.catalog.depth_log.columns import AREA_FRACTION, MEDIAN, shapes_of_log
from mcn.catalog.storage import CatalogQueryError

Floats = NDArray[np.float64]

_RESAMPLES: Final = 200
_LEAST_INTERVALS: Final = 2
"""Intervals of the thinnest zone."""

_PENALTY: Final = 1.5
"""Cost of a boundary in units of the number of signals times the logarithm of that of intervals."""

_LEAST_SHARE: Final = 0.05
"""Share of a log's sum of squares that a boundary explains; less is a step within a transition."""

_SHARE_FLOOR: Final = 0.01


def zones_schema(shapes: list[str]) -> pa.Schema:
    """Columns of zones, from the top down.

    - zone : 1, 2, …
    - depth_top, depth_base : metres.
    - n_intervals, n_tiles, n_crystals : intervals of the log with tiles, and what is in them.
    - support : share of the resampled logs that have the zone's top within one interval of this
      depth, 0 to 1; null for the first zone. Below 0.5 a boundary is doubtful.
    - fraction_<shape>, median_equivalent_diameter_um, crystal_area_fraction : means of the
      intervals, weighted by their tiles.
    """
    return pa.schema(
        [
            pa.field("zone", pa.int64(), nullable=False),
            pa.field("depth_top", pa.float64(), nullable=False),
            pa.field("depth_base", pa.float64(), nullable=False),
            *(
                pa.field(name, pa.int64(), nullable=False)
                for name in ("n_intervals", "n_tiles", "n_crystals")
            ),
            pa.field("support", pa.float64()),
            *(pa.field(f"fraction_{shape}", pa.float64()) for shape in shapes),
            pa.field(MEDIAN, pa.float64()),
            pa.field(AREA_FRACTION, pa.float64()),
        ]
    )


def find_zones(log: pa.Table, zones: int | None = None, seed: int = 0) -> pa.Table:
    """Divide a depth log into zones where shapes, size and crystal area change together.

    The signals are the fractions of shapes and of crystal area (as logits) and the median size
    (as logarithm), each divided by its scatter from one interval to the next. Boundaries are
    those with the least squared deviations from the zones' means [1]_, their number by an
    information criterion. For their support, the deviations are dealt out anew among the
    intervals (200 times), and the log is divided again into as many zones.

    Parameters
    ----------
    log : pa.Table
        Columns of `mcn.catalog.depth_log.columns.depth_log_schema`.
    zones : int, optional
        Number of zones; by default as many as the log supports, which may be one.
    seed : int

    Returns
    -------
    pa.Table of schema `zones_schema`

    Raises
    ------
    CatalogQueryError
        If there are not at least two intervals with tiles for each zone.

    References
    ----------
    .. [1] C. Truong, L. Oudre, N. Vayatis, "Selective review of offline change point detection
       methods", Signal Processing 167, 2020.
    """
    log = log.filter(pa.array(log["n_tiles"].to_numpy() > 0))
    count = log.num_rows
    most = max(count // _LEAST_INTERVALS, 1)
    if zones is not None and not 1 <= zones <= most:
        raise CatalogQueryError(
            f"{zones} zones cannot be found in {count} intervals with tiles; "
            f"give 1 to {most}, or a smaller step"
        )
    signals = _signals(log)
    ends = _change_points(signals, zones)
    starts = [0, *ends[:-1]]
    support = [None, *_support(signals, ends, seed)]
    rows = [
        _row(log.slice(start, end - start), number, share)
        for number, (start, end, share) in enumerate(zip(starts, ends, support, strict=True), 1)
    ]
    # A zone reaches down to the next one, over intervals without tiles.
    for row, below in itertools.pairwise(rows):
        row["depth_base"] = below["depth_top"]
    return pa.Table.from_pylist(rows, zones_schema(shapes_of_log(log)))


def _signals(log: pa.Table) -> Floats:
    """The signals of each interval in units of their scatter, (intervals, signals)."""
    shares = [*(f"fraction_{shape}" for shape in shapes_of_log(log)), AREA_FRACTION]
    columns = []
    for name in shares:
        share = np.clip(_filled(log, name), _SHARE_FLOOR, 1 - _SHARE_FLOOR)
        columns.append(np.log(share / (1 - share)))
    columns.append(np.log(np.maximum(_filled(log, MEDIAN, empty=1.0), 1e-9)))
    signals = np.column_stack(columns)
    steps = np.abs(np.diff(signals, axis=0))
    if not len(steps):
        return np.zeros_like(signals)
    # The median ignores the steps at boundaries; it is that of the absolute difference of two
    # normal deviates, 0.954 standard deviations. The floor keeps constant signals out.
    scatter = np.maximum(np.median(steps, axis=0) / 0.954, 0.02)
    return np.asarray((signals - signals.mean(axis=0)) / scatter)


def _filled(log: pa.Table, name: str, empty: float = 0.5) -> Floats:
    """A column with gaps bridged in a straight line; constant if it is empty."""
    values = log[name].cast(pa.float64()).to_numpy()
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), empty)
    place = np.arange(len(values))
    return np.asarray(np.interp(place, place[known], values[known]))


def _change_points(signals: Floats, zones: int | None) -> list[int]:
    """Ends of the zones as numbers of intervals; the last one is the number of all."""
    import ruptures

    count, n_signals = signals.shape
    if count < 2 * _LEAST_INTERVALS or zones == 1 or not signals.any():
        return [count]
    search = ruptures.KernelCPD(kernel="linear", min_size=_LEAST_INTERVALS).fit(signals)
    if zones is not None:
        return [int(end) for end in search.predict(n_bkps=zones - 1)]
    penalty = max(_PENALTY * n_signals * np.log(count), _LEAST_SHARE * float(np.sum(signals**2)))
    return [int(end) for end in search.predict(pen=penalty)]


def _support(signals: Floats, ends: list[int], seed: int) -> list[float]:
    """Share of the resampled logs with each inner boundary within one interval of its place."""
    if len(ends) < 2:
        return []
    zone = np.repeat(np.arange(len(ends)), np.diff([0, *ends]))
    size = np.bincount(zone)[:, None]
    means = np.stack([np.bincount(zone, column) for column in signals.T], axis=1) / size
    # Deviations from a mean of few values are too small.
    rest = (signals - means[zone]) * np.sqrt(size / (size - 1))[zone]
    rng = np.random.default_rng(seed)
    found = np.zeros(len(ends) - 1)
    for _ in range(_RESAMPLES):
        drawn = means[zone] + rest[rng.integers(len(rest), size=len(rest))]
        again = np.array(_change_points(drawn, len(ends))[:-1])
        found += (np.abs(again - np.array(ends[:-1])[:, None]) <= 1).any(axis=1)
    return [float(share) for share in found / _RESAMPLES]


def _row(part: pa.Table, number: int, support: float | None) -> dict[str, object]:
    tiles = part["n_tiles"].to_numpy().astype(np.float64)
    row: dict[str, object] = {
        "zone": number,
        "depth_top": part["depth_top"][0].as_py(),
        "depth_base": part["depth_base"][-1].as_py(),
        "n_intervals": part.num_rows,
        "n_tiles": int(tiles.sum()),
        "n_crystals": int(part["n_crystals"].to_numpy().sum()),
        "support": support,
    }
    for name in (*(f"fraction_{shape}" for shape in shapes_of_log(part)), MEDIAN, AREA_FRACTION):
        values = part[name].cast(pa.float64()).to_numpy()
        known = np.isfinite(values)
        row[name] = float(np.average(values[known], weights=tiles[known])) if known.any() else None
    return row
