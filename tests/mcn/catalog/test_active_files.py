"""A snapshot's files are selected by well and depth from the log, and read as one dataset."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mcn.catalog.active_files import Depths, dataset, files
from mcn.catalog.query import query
from mcn.catalog.schema import CRYSTALS, TILES, tile_table
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import compact, verify

from ...fakes import catalog_rows


def wells_of(selected: pa.Table) -> list[str]:
    return sorted({*selected["partition.well"].to_pylist()})


def crystals(catalog: Catalog, selected: pa.Table) -> pa.dataset.Dataset:
    return dataset(f"{catalog.uri}/crystals", CRYSTALS, selected)


@pytest.mark.parametrize(
    ("wells", "expected"),
    [
        ((), ["A", "B 2/Ü", "C"]),
        (("A",), ["A"]),
        (("C", "B 2/Ü"), ["B 2/Ü", "C"]),
        ((unicodedata.normalize("NFD", "B 2/Ü"),), ["B 2/Ü"]),
        (("a",), []),
    ],
)
def test_files_are_selected_by_well(
    core: Catalog, wells: tuple[str, ...], expected: list[str]
) -> None:
    assert wells_of(files(core.snapshot().tiles, wells)) == expected


@pytest.mark.parametrize(
    ("depth", "bins"),
    [
        (None, [1200.0, 1300.0, 1400.0, 1500.0]),
        ((None, None), [1200.0, 1300.0, 1400.0, 1500.0]),
        ((1290.0, 1300.0), [1200.0, 1300.0]),
        ((1291.0, 1299.0), []),
        ((None, 1200.0), [1200.0]),
        ((1590.0, None), [1500.0]),
        ((5000.0, None), []),
    ],
)
def test_files_are_selected_by_depth_with_both_ends(
    core: Catalog, depth: Depths | None, bins: list[float]
) -> None:
    selected = files(core.snapshot().crystals, ["A"], depth)
    assert sorted(selected["partition.depth_bin"].to_pylist()) == bins


def test_a_dataset_has_the_rows_and_columns_of_the_catalogue(core: Catalog) -> None:
    read = crystals(core, files(core.snapshot().crystals)).to_table()
    assert read.schema.names == CRYSTALS.names
    order = [(name, "ascending") for name in ("well", "depth_m", "crystal_id")]
    assert read.sort_by(order).equals(query(core).sort_by(order))


def test_a_dataset_without_files_has_no_rows(core: Catalog) -> None:
    empty = crystals(core, files(core.snapshot().crystals, ["nowhere"])).to_table()
    assert empty.num_rows == 0
    assert empty.schema.equals(CRYSTALS)


def test_files_that_a_condition_excludes_are_not_opened(core: Catalog) -> None:
    dataset = crystals(core, files(core.snapshot().crystals))
    for condition, count in (
        (pc.field("well") == "B 2/Ü", 1),
        (pc.field("depth_m") > 1400.0, 2),
        ((pc.field("well") == "A") & (pc.field("depth_bin") == 1300.0), 1),
        (pc.field("depth_m") > 1e6, 0),
    ):
        assert len(list(dataset.get_fragments(condition))) == count


@pytest.mark.parametrize("is_counted", [False, True])
def test_files_of_unknown_range_are_read(
    catalog: Catalog,
    make_tile,  # type: ignore[no-untyped-def]
    make_crystal,  # type: ignore[no-untyped-def]
    is_counted: bool,
) -> None:
    for name, depth_m in (("known", 1210.0), ("unknown", 1200.0)):
        tile = make_tile(name, depth_m=depth_m, n_crystals=3)
        rows = catalog_rows([(tile, [make_crystal()] * 3)], catalog.depth_bin_m)
        parts, _ = catalog.write(rows, tile_table([tile]), name)
        if name == "unknown":
            parts = [
                replace(part, statistics=f'{{"numRecords":{part.rows}}}' if is_counted else "")
                for part in parts
            ]
        catalog.commit_parts(parts)
    selected = files(catalog.snapshot().crystals, [tile.well], (1100.0, 1205.0))
    assert selected.num_rows == 1
    for condition in (pc.field("depth_m") >= 1200.0, pc.field("depth_m") < 1205.0):
        assert crystals(catalog, selected).to_table(filter=condition).num_rows == 3
    assert query(catalog, depth=(None, 1205.0)).num_rows == 3
    assert query(catalog, depth=(None, 1199.0)).num_rows == 0
    assert query(catalog).num_rows == 6
    tiles = dataset(f"{catalog.uri}/tiles", TILES, files(catalog.snapshot().tiles))
    shallow = tiles.to_table(filter=pc.field("depth_m") < 1205.0)
    assert shallow["uri"].to_pylist() == [tile.uri]
    assert verify(catalog).ok
    compact(catalog, 1)
    assert query(catalog).num_rows == 6
