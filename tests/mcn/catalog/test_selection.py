"""Crystals are chosen by formation and area too, in queries, exports and label sheets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from mcn.catalog.export import export
from mcn.catalog.query import iter_batches, query
from mcn.catalog.selection import Selection, located
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.store import Catalog
from mcn.catalog.wells_table.places import Box
from mcn.catalog.wells_table.table import import_wells

HERE = Box(49, 24, 51, 25)


@pytest.fixture(scope="module")
def known(core: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The catalogue `core` with the places of its wells and tops every 100 m in A."""
    folder = tmp_path_factory.mktemp("known")
    shutil.copytree(core.uri, folder / "catalog")
    (folder / "wells.csv").write_text("well,lat,lon\nA,24.5,50\nB 2/Ü,24.6,50\nC,0,0\n")
    (folder / "tops.csv").write_text(
        "well,formation,depth_m\nA,Upper,1200\nA,Middle,1300\nA,Lower,1400\nB 2/Ü,Middle,10\n"
    )
    catalog = Catalog.open(folder / "catalog")
    import_wells(catalog, [str(folder / "wells.csv"), str(folder / "tops.csv")])
    return catalog


def rows(catalog: Catalog, selection: Selection, limit: int | None = None) -> pa.Table:
    return pa.concat_tables(iter_batches(catalog, selection, limit))


def test_a_formation_has_its_crystals_but_not_those_of_its_base(known: Catalog) -> None:
    middle = rows(known, Selection(formations="middle"))
    depths = sorted(set(middle["depth_m"].to_pylist()))
    assert depths == [20.5, *(1300.0 + 10 * n for n in range(10))]
    assert middle["well"].to_pylist() == sorted(middle["well"].to_pylist())
    of_a = Selection(["A"], (1350.0, None), ["rhombic"], formations=["Middle", "Lower"])
    expected = query(known, ["A"], (1350.0, None), ["rhombic"])
    assert rows(known, of_a).equals(expected)


def test_every_formation_together_is_the_well(known: Catalog) -> None:
    parts = [rows(known, Selection(["A"], formations=[f])) for f in ("Upper", "Middle", "Lower")]
    assert pa.concat_tables(parts).equals(query(known, ["A"]))


@pytest.mark.parametrize("limit", [0, 1, 7, 10_000])
def test_a_limit_is_of_all_intervals(known: Catalog, limit: int) -> None:
    selection = Selection(formations=["Upper", "Middle"])
    limited = rows(known, selection, limit)
    assert limited.equals(rows(known, selection).slice(0, limit))


def test_a_box_has_the_wells_in_it(known: Catalog) -> None:
    assert rows(known, Selection(box=HERE)).equals(query(known, ["A", "B 2/Ü"]))
    assert located(known, Selection(["A"], box=HERE), known.snapshot()) == [
        Selection(["A"], (None, None))
    ]


def test_an_export_has_the_tiles_and_crystals_of_a_formation(
    known: Catalog, tmp_path: Path
) -> None:
    count = export(known, tmp_path / "a.json", wells=["A"], formations=["Middle"], box=HERE)
    coco = json.loads((tmp_path / "a.json").read_text())
    assert len(coco["images"]) == 10
    assert len(coco["annotations"]) == count == 50
    assert export(known, tmp_path / "b.json", depth=(0.0, 1.0), formations=["Middle"]) == 0


def test_an_unknown_formation_is_named(known: Catalog) -> None:
    with pytest.raises(CatalogQueryError, match="no formation 'Midle'; did you mean 'Middle'"):
        rows(known, Selection(formations="Midle"))
