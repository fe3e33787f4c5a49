"""Two models are compared over the tiles that both have read."""

from __future__ import annotations

import pytest

from mcn.catalog.depth_log.comparison import compare_models, two_models
from mcn.catalog.model_names import ModelPair
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.store import Catalog

from ..conftest import Commit, MakeCrystal, MakeTile

OLD, NEW = ModelPair("compact@0123456789ab"), ModelPair("vit_h@111111111111")


@pytest.fixture
def scanned(
    catalog: Catalog, make_tile: MakeTile, make_crystal: MakeCrystal, commit: Commit
) -> Catalog:
    """Tiles at 1200 and 1215 m by both models; at 1230 m by one; at 1245 m the new one failed."""
    new = {"segmenter": NEW.segmenter, "crystal_area_fraction": 0.25}

    def crystals(shape: str, *sizes: float | None) -> list[object]:
        return [make_crystal(shape, equivalent_diameter_um=size) for size in sizes]

    commit(catalog, (make_tile("a"), crystals("rhombic", 1.0, 2.0, 4.0, None)))
    commit(catalog, (make_tile("a", **new), crystals("spherical", 2.0, 3.0)))
    commit(catalog, (make_tile("b", depth_m=1215.0), crystals("rhombic", 5.0)))
    commit(catalog, (make_tile("b", depth_m=1215.0, **new), []))
    commit(catalog, (make_tile("c", depth_m=1230.0), crystals("rhombic", 5.0)))
    commit(catalog, (make_tile("d", depth_m=1245.0), crystals("rhombic", 5.0)))
    failed = make_tile("d", depth_m=1245.0, **new, status="failed", error="gone")
    commit(catalog, (failed, []))
    return catalog


def test_intervals_of_common_tiles(scanned: Catalog) -> None:
    rows = compare_models(scanned, OLD, NEW, step_m=10.0).to_pylist()
    assert [(row["depth_top"], row["depth_base"], row["n_tiles"]) for row in rows] == [
        (1200.0, 1210.0, 1),
        (1210.0, 1220.0, 1),
    ]
    top, base = rows
    assert (top["n_crystals_a"], top["n_crystals_b"]) == (4, 2)
    assert (top["fraction_rhombic_a"], top["fraction_rhombic_b"]) == (1.0, 0.0)
    assert (top["fraction_spherical_a"], top["fraction_spherical_b"]) == (0.0, 1.0)
    assert top["median_equivalent_diameter_um_a"] == 2.0
    assert top["median_equivalent_diameter_um_b"] == 2.5
    assert (top["crystal_area_fraction_a"], top["crystal_area_fraction_b"]) == (0.5, 0.25)
    assert (base["n_crystals_a"], base["n_crystals_b"], base["fraction_rhombic_b"]) == (1, 0, None)
    assert compare_models(scanned, NEW, OLD, ["A"], (1205.0, None)).num_rows == 1


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ((OLD, OLD), "the same model twice"),
        ((OLD, ModelPair("none@1")), "unknown segmenter"),
    ],
)
def test_what_cannot_be_compared(
    scanned: Catalog, pairs: tuple[ModelPair, ModelPair], reason: str
) -> None:
    with pytest.raises(CatalogQueryError, match=reason):
        compare_models(scanned, *pairs)


def test_models_without_a_common_tile(scanned: Catalog) -> None:
    with pytest.raises(CatalogQueryError, match="no tile was read by both"):
        compare_models(scanned, OLD, NEW, depth=(1230.0, None))
    with pytest.raises(CatalogQueryError, match="a step of 0 m"):
        compare_models(scanned, OLD, NEW, step_m=0)


def test_names_of_two_models() -> None:
    assert two_models(["a", "b"], []) == (ModelPair("a"), ModelPair("b"))
    assert two_models(["a", "b"], ["c"]) == (ModelPair("a", "c"), ModelPair("b", "c"))
    assert two_models([], ["c", "d"]) == (ModelPair(None, "c"), ModelPair(None, "d"))
    for names in (([], []), (["a"], []), (["a", "b", "c"], [])):
        with pytest.raises(CatalogQueryError, match="needs two models"):
            two_models(*names)
