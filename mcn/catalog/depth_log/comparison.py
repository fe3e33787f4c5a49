"""Two models side by side, interval by interval, over the tiles that both have read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mcn.catalog.active_files import Depths
from mcn.catalog.model_names import ModelPair
from mcn.catalog.query import find_models, tiles_and_crystals
from mcn.catalog.schema import OK
from mcn.catalog.storage import CatalogQueryError

if TYPE_CHECKING:
    from mcn.catalog.store import Catalog

_KEY: Final = ["well", "number"]
_LONGEST_STEP_M: Final = 1e5
_SIDES: Final = ("a", "b")


def two_models(
    segmenters: Sequence[str], classifiers: Sequence[str]
) -> tuple[ModelPair, ModelPair]:
    """The two sides of a comparison from one or two names of each kind.

    Raises
    ------
    CatalogQueryError
        Unless there are two names of one kind, and two, one or none of the other.
    """
    counts = {len(segmenters), len(classifiers)}
    if 2 not in counts or max(counts) > 2:
        raise CatalogQueryError(
            "a comparison needs two models; give --segmenter A --segmenter B, or --classifier A "
            "--classifier B (`mcn catalog info` lists the models)"
        )
    sides = []
    for side in (0, -1):
        segmenter, classifier = (
            names[side] if names else None for names in (segmenters, classifiers)
        )
        sides.append(ModelPair(segmenter, classifier))
    return sides[0], sides[1]


def compare_models(
    catalog: Catalog,
    first: ModelPair,
    second: ModelPair,
    wells: Sequence[str] = (),
    depth: Depths | None = None,
    step_m: float = 10.0,
) -> pa.Table:
    """Crystals, shapes, sizes and area by two models, one row per well and interval.

    Parameters
    ----------
    catalog : Catalog
    first, second : ModelPair
        Names or prefixes; None is the latest model of the tile that fits the other name.
    wells : sequence of str
        All if empty.
    depth : Depths, optional
    step_m : float
        Length of the intervals, which start at its multiples, in metres.

    Returns
    -------
    pa.Table
        `well, depth_top, depth_base, n_tiles`; then `n_crystals_a, n_crystals_b`,
        `fraction_<shape>_a, …_b`, `median_equivalent_diameter_um_a, …_b` and
        `crystal_area_fraction_a, …_b`. Only tiles that both models have read are counted.

    Raises
    ------
    CatalogQueryError
        For unknown wells or models, the same model twice, models that have no tile in common, and
        an impossible step.
    """
    if not 0 < step_m <= _LONGEST_STEP_M:
        raise CatalogQueryError(
            f"a step of {step_m:g} m is impossible; give one above 0 and up to {_LONGEST_STEP_M:g}"
        )
    snapshot = catalog.snapshot()
    names = wells or [*snapshot.tiles.by_well]
    sides = [
        find_models(catalog, snapshot.tiles, (), pair.segmenter, pair.classifier)
        for pair in (first, second)
    ]
    if sides[0] == sides[1]:
        raise CatalogQueryError(f"{sides[0]} is the same model twice; name another one")
    read = [
        tiles_and_crystals(
            catalog,
            names,
            ("well", "tile_id", "depth_m", "status", "crystal_area_fraction"),
            ("well", "tile_id", "depth_m", "shape", "equivalent_diameter_um"),
            depth,
            side.segmenter,
            side.classifier,
            snapshot,
        )
        for side in sides
    ]
    ok = [tiles.filter(pc.equal(tiles["status"], OK)) for tiles, _ in read]
    both = pc.unique(ok[0]["tile_id"].filter(pc.is_in(ok[0]["tile_id"], ok[1]["tile_id"])))
    if not len(both):
        raise CatalogQueryError(
            f"{catalog.uri}: no tile was read by both {sides[0]} and {sides[1]}; scan with the "
            "other model first"
        )
    compared: pa.Table | None = None
    for suffix, tiles, (_, crystals) in zip(_SIDES, ok, read, strict=True):
        one = _of_one(catalog.shapes, _common(tiles, both), _common(crystals, both), step_m)
        renamed = [
            name if name in (*_KEY, "n_tiles") else f"{name}_{suffix}" for name in one.column_names
        ]
        one = one.rename_columns(renamed)
        compared = (
            one
            if compared is None
            else compared.join(one.drop_columns(["n_tiles"]), _KEY, join_type="full outer")
        )
    assert compared is not None
    return _in_order(compared.sort_by([(name, "ascending") for name in _KEY]), step_m)


def _common(rows: pa.Table, tile_ids: pa.Array) -> pa.Table:
    return rows.filter(pc.is_in(rows["tile_id"], tile_ids))


def _of_one(shapes: Sequence[str], tiles: pa.Table, crystals: pa.Table, step_m: float) -> pa.Table:
    tiles, crystals = (_numbered(rows, step_m) for rows in (tiles, crystals))
    by_tile = tiles.group_by(_KEY).aggregate([([], "count_all"), ("crystal_area_fraction", "mean")])
    for index, shape in enumerate(shapes):
        is_shape = pc.cast(pc.equal(crystals["shape"], shape), pa.float64())
        crystals = crystals.append_column(f"is_{index}", is_shape)
    by_crystal = crystals.group_by(_KEY).aggregate(
        [
            ([], "count_all"),
            *((f"is_{index}", "mean") for index in range(len(shapes))),
        ]
    )
    joined = by_tile.join(by_crystal, _KEY, join_type="left outer", right_suffix="_crystals")
    joined = joined.join(_medians(crystals, "equivalent_diameter_um"), _KEY, join_type="left outer")
    columns = {name: joined[name] for name in _KEY}
    columns["n_tiles"] = joined["count_all"]
    columns["n_crystals"] = pc.fill_null(joined["count_all_crystals"], 0)
    columns |= {
        f"fraction_{shape}": joined[f"is_{index}_mean"] for index, shape in enumerate(shapes)
    }
    columns["median_equivalent_diameter_um"] = joined["median"]
    columns["crystal_area_fraction"] = joined["crystal_area_fraction_mean"]
    return pa.table(columns)


def _medians(rows: pa.Table, column: str) -> pa.Table:
    """The median of each group's known values."""
    rows = rows.select([*_KEY, column]).filter(pc.is_valid(rows[column]))
    rows = rows.sort_by([(name, "ascending") for name in (*_KEY, column)])
    groups = rows.group_by(_KEY, use_threads=False).aggregate([([], "count_all")])
    count = groups["count_all"].to_numpy()
    start = np.concatenate([[0], count.cumsum()[:-1]]).astype(np.int64)
    value = rows[column].to_numpy().astype(np.float64)
    medians = (value[start + (count - 1) // 2] + value[start + count // 2]) / 2
    return groups.select(_KEY).append_column("median", pa.array(medians))


def _numbered(rows: pa.Table, step_m: float) -> pa.Table:
    number = np.floor(rows["depth_m"].to_numpy() / step_m).astype(np.int64)
    return rows.append_column("number", pa.array(number))


def _in_order(compared: pa.Table, step_m: float) -> pa.Table:
    number = compared["number"].to_numpy()
    columns = {
        "well": compared["well"],
        "depth_top": np.round(number * step_m, 9) + 0.0,
        "depth_base": np.round((number + 1) * step_m, 9) + 0.0,
        "n_tiles": compared["n_tiles"],
    }
    measures = [name.removesuffix("_a") for name in compared.column_names if name.endswith("_a")]
    columns |= {
        f"{name}_{side}": compared[f"{name}_{side}"] for name in measures for side in _SIDES
    }
    return pa.table(columns)
