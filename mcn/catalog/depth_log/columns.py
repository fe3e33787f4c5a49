"""The columns of a depth log.

A statistic `x` has up to six columns: `x` as measured, `low_x` and `high_x`, its 95 % interval,
and `corrected_x`, `low_corrected_x`, `high_corrected_x`, the same after the corrections of
`mcn.catalog.depth_log.bias`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

LOW: Final = "low_"
HIGH: Final = "high_"
CORRECTED: Final = "corrected_"
EUHEDRAL: Final = "fraction_euhedral_to_subhedral"
AREA_FRACTION: Final = "crystal_area_fraction"
PORES: Final = "visible_pore_fraction"
MEDIAN: Final = "median_equivalent_diameter_um"

QUANTILES: Final = {
    "q10_equivalent_diameter_um": 0.10,
    "q25_equivalent_diameter_um": 0.25,
    MEDIAN: 0.50,
    "q75_equivalent_diameter_um": 0.75,
    "q90_equivalent_diameter_um": 0.90,
}
"""Quantiles of the crystals' equivalent diameters."""

SIZES: Final = (
    *("mean_equivalent_diameter_um", "area_weighted_equivalent_diameter_um"),
    *QUANTILES,
    "sorting_phi",
)
"""Statistics of the crystals' sizes, all with a corrected form."""

MEANS: Final = {
    "mean_aspect_ratio": "aspect_ratio",
    "mean_circularity": "circularity",
    "mean_contact_fraction": "contact_fraction",
    "mean_roundness": "roundness",
    "mean_completeness": "completeness",
}
"""Means of a measure over the crystals."""


def fractions(shapes: Sequence[str]) -> list[str]:
    """Names of the fractions of crystals: of each shape, and of the euhedral ones."""
    return [*(f"fraction_{shape}" for shape in shapes), EUHEDRAL]


def statistics(shapes: Sequence[str]) -> list[str]:
    """Names of all statistics as measured and corrected, without their intervals."""
    measured = [*fractions(shapes), *SIZES, *MEANS, AREA_FRACTION, PORES]
    return [*measured, *(CORRECTED + name for name in (*fractions(shapes), *SIZES))]


def depth_log_schema(shapes: Sequence[str]) -> pa.Schema:
    """Columns of a depth log: depths in metres, fractions 0 to 1, sizes in micrometres.

    An interval includes its top but not its base. Unknown values are null: all values of an
    interval without tiles, sizes without a pixel size, intervals of fewer than three tiles,
    corrected sizes of crystals that an older version measured, and the fraction of euhedral to
    subhedral crystals if the class list has other facet definitions than
    `euhedral_to_subhedral`, `euhedral`, `subhedral` and `anhedral`.

    - n_tiles, n_failed_tiles : tiles that were read, and those that could not be.
    - few_tiles : whether there are fewer than 8 tiles, so that the intervals are rough.
    - sorting_phi : inclusive graphic standard deviation of Folk and Ward [1]_ of the crystals'
      diameters in phi units; below 0.35 is very well sorted, above 2 very poorly.
    - area_weighted_equivalent_diameter_um : mean diameter, each crystal weighted by its area.
    - resolvable_diameter_um : smaller crystals are mostly missed in at least one of the tiles.

    References
    ----------
    .. [1] R. L. Folk, W. C. Ward, "Brazos River bar: a study in the significance of grain size
       parameters", Journal of Sedimentary Petrology 27, 1957.
    """
    first = [
        *(*fractions(shapes), "mean_equivalent_diameter_um", "q25_equivalent_diameter_um"),
        *(MEDIAN, "q75_equivalent_diameter_um", AREA_FRACTION),
    ]
    names = statistics(shapes)
    further = [name for name in names if name not in first]
    intervals = [prefix + name for name in names for prefix in (LOW, HIGH)]
    return pa.schema(
        [
            pa.field("depth_top", pa.float64(), nullable=False),
            pa.field("depth_base", pa.float64(), nullable=False),
            pa.field("n_tiles", pa.int64(), nullable=False),
            pa.field("n_crystals", pa.int64(), nullable=False),
            *(pa.field(name, pa.float64()) for name in first),
            pa.field("n_failed_tiles", pa.int64(), nullable=False),
            pa.field("few_tiles", pa.bool_(), nullable=False),
            pa.field("resolvable_diameter_um", pa.float64()),
            *(pa.field(name, pa.float64()) for name in (*further, *intervals)),
        ]
    )


def shapes_of_log(log: pa.Table) -> list[str]:
    """The shapes with fractions in a depth log, in order."""
    names = [name for name in log.column_names if name.startswith("fraction_")]
    return [name.removeprefix("fraction_") for name in names if name != EUHEDRAL]
