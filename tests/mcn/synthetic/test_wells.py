import numpy as np
import pytest

from mcn.synthetic.wells import plan_wells, rock_at

WELLS = plan_wells(3, 0, 1200.0, 1500.0)


def test_zones_fill_the_interval_without_a_gap():
    assert len({well.name for well in WELLS}) == 3
    for well in WELLS:
        assert well.zones[0].top_m == 1200.0
        assert well.zones[-1].base_m == 1500.0
        for upper, lower in zip(well.zones, well.zones[1:], strict=False):
            assert upper.base_m == lower.top_m
            assert upper.top_m < upper.base_m


def test_a_well_does_not_depend_on_the_number_of_wells():
    assert plan_wells(1, 0, 1200.0, 1500.0)[0] == WELLS[0]
    assert plan_wells(1, 1, 1200.0, 1500.0)[0] != WELLS[0]


@pytest.mark.parametrize("well", WELLS, ids=lambda well: well.name)
def test_rock_matches_its_zone_in_the_middle_and_changes_smoothly(well):
    for zone in well.zones:
        middle = rock_at(well, (zone.top_m + zone.base_m) / 2)
        assert middle.zone == zone.name
        np.testing.assert_allclose(middle.shape_mix, zone.shape_mix, atol=0.15)
        assert middle.porosity == pytest.approx(zone.porosity, abs=0.05)
    depths = np.arange(1200.0, 1500.0, 0.5)
    rocks = [rock_at(well, depth) for depth in depths]
    mixes = np.array([rock.shape_mix for rock in rocks])
    np.testing.assert_allclose(mixes.sum(axis=1), 1.0)
    assert np.abs(np.diff(mixes, axis=0)).max() < 0.02
    assert np.abs(np.diff([rock.porosity for rock in rocks])).max() < 0.01
    assert np.abs(np.diff([rock.diameter_um for rock in rocks])).max() < 0.1


def test_zones_differ():
    middles = [rock_at(WELLS[0], (zone.top_m + zone.base_m) / 2) for zone in WELLS[0].zones]
    assert [int(np.argmax(rock.shape_mix)) for rock in middles] == [0, 1, 3, 2]
