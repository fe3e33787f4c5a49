"""Crystals are chosen by formation and area too, in queries, exports and label sheets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from mcn.catalog.corrected.views import number_columns
from mcn.catalog.export import export
from mcn.catalog.query import iter_batches, query, select_crystals
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


def test_ranges_include_their_ends_and_exclude_the_unknown(core: Catalog) -> None:
    sizes = Selection(ranges={"equivalent_diameter_um": (1.0, 1.2)})
    found = select_crystals(core, sizes)["equivalent_diameter_um"].to_pylist()
    assert sorted({round(size, 3) for size in found}) == [1.0, 1.1]  # 1.2 is above it as 32 bits
    assert select_crystals(core, Selection(ranges={"confidence": (None, None)})).num_rows == 201
    unknown = Selection(["B 2/Ü"], ranges={"equivalent_diameter_um": (0.0, None)})
    assert select_crystals(core, unknown).num_rows == 0


def test_the_crystals_of_one_tile(core: Catalog) -> None:
    tile_id = select_crystals(core, Selection(["A"]), limit=1)["tile_id"][0].as_py()
    found = select_crystals(core, Selection(["A"], tile_id=tile_id))
    assert found.num_rows == 5
    assert {*found["tile_id"].to_pylist()} == {tile_id}


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"ranges": {"confidence": (2, 1)}}, "not a range"),
        ({"ranges": {"confidence": (float("nan"), None)}}, "not a range"),
        ({"ranges": {"confidense": (0, 1)}}, "did you mean 'confidence'"),
        ({"ranges": {"shape": (0, 1)}}, "no number column 'shape'"),
        ({"is_corrected": True}, "needs corrected values"),
    ],
)
def test_impossible_selections_are_refused(core: Catalog, facts: dict, reason: str) -> None:
    with pytest.raises(CatalogQueryError, match=reason):
        select_crystals(core, Selection(**facts))


def test_number_columns(core: Catalog) -> None:
    names = number_columns(core.crystals_schema)
    assert "confidence" in names
    assert not {"shape", "touches_edge", "mask_rle", "scanned_at"} & {*names}
