"""Textures of a well, with the probabilities that its tiles support."""

from __future__ import annotations

from typing import Any

import pytest

from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.store import Catalog
from mcn.catalog.textures.table import TEXTURES, texture_table


@pytest.fixture
def well(catalog: Catalog, make_tile: Any, make_crystal: Any, commit: Any) -> Catalog:
    """Ten tiles of small rhombs apart from each other above two of large lumps that touch."""
    rhomb = {"contact_fraction": 0.2, "equivalent_diameter_um": 1.0}
    lump = {"contact_fraction": 0.9, "equivalent_diameter_um": 3.0}
    places = [{"centroid_x": 12.0 * n + 8, "centroid_y": 10.0 + 28 * (n % 2)} for n in range(5)]
    pairs = [
        (
            make_tile(f"r{n}", "A", 1000.0 + n / 10, visible_pore_fraction=0.25),
            [make_crystal("rhombic", completeness=1.0, **rhomb, **place) for place in places],
        )
        for n in range(10)
    ]
    pairs += [
        (
            make_tile(f"l{n}", "A", 1020.0 + n / 10, visible_pore_fraction=0.01),
            [make_crystal("amorphous", completeness=1.0, **lump, **place) for place in places],
        )
        for n in range(2)
    ]
    pairs.append((make_tile("z", "A", 1030.0), []))
    commit(catalog, *pairs)
    return catalog


def test_textures_of_known_intervals(well: Catalog) -> None:
    table = texture_table(well, "A", 10.0)
    assert table.schema == TEXTURES
    named = {(row["depth_top"], row["scheme"]): row["texture"] for row in table.to_pylist()}
    assert named == {
        (1000.0, "kaczmarek_2015"): "granular, euhedral",
        (1000.0, "deville_2011"): "F",
        (1000.0, "lambert_2006_form"): "micro-rhombic",
        (1000.0, "lambert_2006_contacts"): "punctic",
        (1020.0, "kaczmarek_2015"): "fitted, completely",
        (1020.0, "deville_2011"): "D",
        (1020.0, "lambert_2006_form"): "anhedral",
        (1020.0, "lambert_2006_contacts"): "wholly coalescent",
    }
    # Two tiles are too few to be resampled.
    assert table["probability"].to_pylist() == [1.0] * 4 + [None] * 4
    assert table["few_tiles"].to_pylist() == [False] * 4 + [True] * 4


def test_mixed_tiles_have_probabilities(
    catalog: Catalog, make_tile: Any, make_crystal: Any, commit: Any
) -> None:
    crystals = [make_crystal(shape) for shape in ("rhombic", "polyhedral")]
    pairs = [(make_tile(f"{n}"), [crystals[n % 2]] * 10) for n in range(10)]
    commit(catalog, *pairs, (make_tile("more"), [crystals[0]] * 10))
    rows = texture_table(catalog, "A").to_pylist()
    (form,) = [row for row in rows if row["scheme"] == "lambert_2006_form"]
    assert form["texture"] == "micro-rhombic"
    assert form["second"] == "polyhedral"
    assert 0.5 < form["probability"] < 0.95
    assert form["probability"] + form["second_probability"] == pytest.approx(1)
    assert texture_table(catalog, "A").equals(texture_table(catalog, "A"))


def test_an_older_catalogue_without_the_measures_is_not_told(
    catalog: Catalog, make_tile: Any, make_crystal: Any, commit: Any
) -> None:
    unknown = dict.fromkeys(("contact_fraction", "roundness", "completeness"))
    commit(catalog, *[(make_tile(f"{n}"), [make_crystal(**unknown)] * 3) for n in range(3)])
    named = {row["scheme"]: row["texture"] for row in texture_table(catalog, "A").to_pylist()}
    assert named["lambert_2006_contacts"] == "not told"
    assert named["lambert_2006_form"] == "micro-rhombic"


def test_an_unknown_well_is_named(well: Catalog) -> None:
    with pytest.raises(CatalogQueryError, match="no well 'B'"):
        texture_table(well, "B")
