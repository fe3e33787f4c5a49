"""A catalogue for another rock returns its own shapes everywhere, and accepts no other crystals."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import lasio
import pytest

from mcn.catalog.depth_log.las import write_las
from mcn.catalog.depth_log.plot import write_png
from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.export import export
from mcn.catalog.query import Selection, iter_batches, query
from mcn.catalog.schema import RowError, tile_table
from mcn.catalog.storage import CatalogError
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import verify
from mcn.taxonomy import SHAPES, Taxonomy

from ...fakes import catalog_rows

DOLOMITE = Taxonomy({"planar_e": "euhedral", "planar_s": "subhedral", "nonplanar": "anhedral"})


@pytest.fixture
def dolomite(tmp_path: Path, make_tile, make_crystal) -> Catalog:
    catalog = Catalog.create(tmp_path / "dolomite", shapes=DOLOMITE.shapes)
    crystals_by_tile = []
    for n in range(6):
        shape = DOLOMITE.shapes[n % 3]
        p = {f"p_{name}": 0.8 if name == shape else 0.1 for name in DOLOMITE.shapes}
        crystal = make_crystal(shape, facet=DOLOMITE.facet_of[shape], **p)
        tile = replace(make_tile(f"t{n}", "D", 900.0 + n), n_crystals=2)
        crystals_by_tile.append((tile, [crystal, crystal]))
    rows = catalog_rows(crystals_by_tile, catalog.depth_bin_m, catalog.shapes)
    catalog.commit(rows, tile_table([tile for tile, _ in crystals_by_tile]))
    return catalog


def test_a_catalogue_keeps_its_shapes(dolomite: Catalog) -> None:
    assert Catalog.open(dolomite.uri).shapes == DOLOMITE.shapes
    rows = query(dolomite, shapes=["planar_s"])
    probabilities = [name for name in rows.column_names if name.startswith("p_")]
    assert probabilities == ["p_planar_e", "p_planar_s", "p_nonplanar"]
    assert rows["p_planar_s"].to_pylist() == pytest.approx([0.8] * 4)
    assert set(rows["facet"].to_pylist()) == {"subhedral"}
    assert verify(dolomite).ok


def test_an_unknown_shape_is_named(dolomite: Catalog) -> None:
    with pytest.raises(CatalogError, match=r"no shape 'rhombic'.*'planar_e'"):
        next(iter_batches(dolomite, Selection(shapes=["rhombic"])))


def test_depth_logs_and_exports_have_the_catalogues_shapes(
    dolomite: Catalog, tmp_path: Path
) -> None:
    log = depth_log(dolomite, "D", 3.0)
    assert log["fraction_nonplanar"].to_pylist() == pytest.approx([1 / 3, 1 / 3])
    write_png(log, "D", tmp_path / "log.png")
    write_las(log, "D", tmp_path / "log.las")
    fractions = [curve.descr for curve in lasio.read(tmp_path / "log.las").curves]
    assert "Fraction of planar_s crystals" in fractions
    assert export(dolomite, tmp_path / "coco.json") == 12
    categories = json.loads((tmp_path / "coco.json").read_text())["categories"]
    assert [category["name"] for category in categories] == list(DOLOMITE.shapes)
    export(dolomite, tmp_path / "rows.csv", "csv")
    with (tmp_path / "rows.csv").open(newline="") as lines:
        assert {row["p_nonplanar"] for row in csv.DictReader(lines)} == {"0.1", "0.8"}


def test_crystals_of_another_classifier_are_refused(
    dolomite: Catalog, tmp_path: Path, make_tile, make_crystal
) -> None:
    with pytest.raises(CatalogError, match=r"shapes planar_e, .* and the classifier has rhombic"):
        Catalog.open_or_create(dolomite.uri)
    Catalog.create(tmp_path / "calcite")
    with pytest.raises(
        CatalogError, match=r"shapes rhombic, .* classifier has planar_e, planar_s, nonplanar"
    ):
        Catalog.open_or_create(tmp_path / "calcite", shapes=DOLOMITE.shapes)
    tile = replace(make_tile("x"), n_crystals=1)
    rows = catalog_rows([(tile, [make_crystal()])], shapes=SHAPES)
    with pytest.raises(RowError, match="rows have other columns"):
        dolomite.commit(rows, tile_table([tile]))


@pytest.mark.parametrize(
    ("facets", "fraction"),
    [
        (("euhedral", "subhedral", "anhedral"), 2 / 3),
        (("anhedral", "anhedral", "euhedral_to_subhedral"), 1 / 3),
        (("anhedral", "anhedral", "anhedral"), 0.0),
        (("idiomorphic", "hypidiomorphic", "xenomorphic"), None),
    ],
)
def test_the_facet_fraction_supports_any_class_list(
    tmp_path: Path, make_tile, make_crystal, facets, fraction
) -> None:
    """It was 0 for facet names other than those of calcite."""
    catalog = Catalog.create(tmp_path / "dolomite", shapes=DOLOMITE.shapes)
    p = {f"p_{name}": 1 / 3 for name in DOLOMITE.shapes}
    crystals = [
        make_crystal(shape, facet=facet, **p)
        for shape, facet in zip(DOLOMITE.shapes, facets, strict=True)
    ]
    tile = replace(make_tile(), n_crystals=3)
    rows = catalog_rows([(tile, crystals)], catalog.depth_bin_m, catalog.shapes)
    catalog.commit(rows, tile_table([tile]))
    log = depth_log(catalog, "A")
    assert log["fraction_euhedral_to_subhedral"].to_pylist() == [
        None if fraction is None else pytest.approx(fraction)
    ]
