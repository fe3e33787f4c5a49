"""The first crystals in an order."""

import pytest

from mcn.catalog.corrected.views import first_crystals
from mcn.catalog.query import query
from mcn.catalog.selection import Selection
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.store import Catalog


def test_crystals_come_in_the_order_of_a_column(core: Catalog) -> None:
    everything = query(core).to_pylist()
    largest = first_crystals(
        core, Selection(shapes=["rhombic"]), "equivalent_diameter_um", 7, descending=True
    )
    expected = sorted(
        (row for row in everything if row["shape"] == "rhombic"),
        key=lambda row: (-(row["equivalent_diameter_um"] or 0), row["crystal_id"]),
    )
    assert largest.to_pylist() == expected[:7]
    smallest = first_crystals(core, Selection(), "equivalent_diameter_um", 1000)
    assert smallest.num_rows == 201
    assert smallest["equivalent_diameter_um"][200].as_py() is None  # unknown values come last


def test_unknown_columns_are_refused(core: Catalog) -> None:
    with pytest.raises(CatalogQueryError, match="did you mean 'confidence'"):
        first_crystals(core, Selection(), "confidense", 1)
