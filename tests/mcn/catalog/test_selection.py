"""Which crystals a selection means, and the names that it refuses."""

from __future__ import annotations

import pytest

from mcn.catalog.query import select_crystals
from mcn.catalog.selection import Selection, number_columns
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.store import Catalog


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
