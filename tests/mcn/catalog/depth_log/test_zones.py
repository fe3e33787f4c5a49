"""Tests of `mcn.catalog.depth_log.zones`, on logs of rocks with known zones."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from mcn.catalog.depth_log.zones import find_zones, zones_schema
from mcn.catalog.storage import CatalogQueryError
from mcn.synthetic.wells import SyntheticWell, plan_wells, rock_at
from mcn.taxonomy import SHAPES


def rock_log(well: SyntheticWell, intervals: int = 60, tiles: int = 3, seed: int = 0) -> pa.Table:
    """A log of a well as if its tiles had been scanned."""
    rng = np.random.default_rng(seed)
    edges = np.linspace(1200.0, 1500.0, intervals + 1)
    rows = []
    for top, base in itertools.pairwise(edges):
        rock = rock_at(well, (top + base) / 2)
        mix = rng.dirichlet(19 * tiles * np.array(rock.shape_mix))
        noise = rng.normal(0, 1 / np.sqrt(tiles), 2)
        rows.append(
            {
                "depth_top": top,
                "depth_base": base,
                "n_tiles": tiles,
                "n_crystals": 240 * tiles,
                **{f"fraction_{shape}": mix[k] for k, shape in enumerate(SHAPES)},
                "median_equivalent_diameter_um": rock.diameter_um * np.exp(0.08 * noise[0]),
                "crystal_area_fraction": 0.9 * (1 - rock.porosity) + 0.03 * noise[1],
            }
        )
    return pa.Table.from_pylist(rows)


@pytest.mark.parametrize("seed", range(4))
def test_zones_of_a_rendered_well_are_found(seed):
    (well,) = plan_wells(1, seed, 1200.0, 1500.0)
    zones = find_zones(rock_log(well, seed=seed))
    assert zones.schema.equals(zones_schema(list(SHAPES)))
    true = [zone.top_m for zone in well.zones][1:]
    assert zones["depth_top"].to_pylist()[1:] == pytest.approx(true, abs=12.5)
    assert zones["depth_base"].to_pylist()[:-1] == zones["depth_top"].to_pylist()[1:]
    assert zones["support"][0].as_py() is None
    assert min(zones["support"].to_pylist()[1:]) > 0.8
    assert zones["n_tiles"].to_numpy().sum() == 180
    assert zones["fraction_spherical"].to_numpy().argmax() == 2


def test_an_even_well_is_one_zone():
    (well,) = plan_wells(1, 0, 1200.0, 1500.0)
    log = rock_log(well, tiles=2)
    shuffled = log.take(np.random.default_rng(1).permutation(log.num_rows))
    depths = log.select(["depth_top", "depth_base"])
    for number, name in enumerate(depths.column_names):
        shuffled = shuffled.set_column(number, name, depths[name])
    assert find_zones(shuffled).num_rows == 1
    doubtful = find_zones(shuffled, zones=3)
    assert doubtful.num_rows == 3
    assert min(doubtful["support"].to_pylist()[1:]) < 0.8


def test_gaps_belong_to_the_zone_above_and_unknown_sizes_are_no_signal():
    (well,) = plan_wells(1, 2, 1200.0, 1500.0)
    log = rock_log(well)
    unknown = pa.nulls(log.num_rows, pa.float64())
    place = log.schema.get_field_index("median_equivalent_diameter_um")
    log = log.set_column(place, "median_equivalent_diameter_um", unknown)
    tiles = log["n_tiles"].to_numpy().copy()
    tiles[20:23] = 0
    log = log.set_column(log.schema.get_field_index("n_tiles"), "n_tiles", pa.array(tiles))
    zones = find_zones(log, zones=4)
    assert zones["n_intervals"].to_numpy().sum() == 57
    assert zones["depth_base"][-1].as_py() == 1500.0
    assert zones["depth_base"].to_pylist()[:-1] == zones["depth_top"].to_pylist()[1:]
    assert zones["median_equivalent_diameter_um"].null_count == 4


def test_too_many_zones_are_refused():
    (well,) = plan_wells(1, 0, 1200.0, 1500.0)
    log = rock_log(well, intervals=7)
    with pytest.raises(CatalogQueryError, match="give 1 to 3, or a smaller step"):
        find_zones(log, zones=4)
    assert find_zones(log.slice(0, 1)).num_rows == 1
    assert find_zones(log, zones=1)["support"].to_pylist() == [None]
