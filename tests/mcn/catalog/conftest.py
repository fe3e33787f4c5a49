"""Tiles and crystals for test catalogues."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcn.catalog.schema import Tile, tile_id, tile_table
from mcn.catalog.store import Catalog
from mcn.crystals import segmented_crystals
from mcn.mask import Mask
from mcn.morphology import measure
from mcn.taxonomy import SHAPES

from ...fakes import Row, catalog_rows, crystal_row

MakeTile = Callable[..., Tile]
MakeCrystal = Callable[..., Row]
Commit = Callable[..., None]

_NARROW_BINS_M = 100.0
"""So that short wells have several files."""


def at(make_crystal: MakeCrystal, x: int, y: int, shape: str = "rhombic", **facts: Any) -> Any:
    """A crystal of 5×6 pixels at a place of its own."""
    masks = [Mask(x, y, np.ones((6, 5), dtype=bool))]
    (row,) = segmented_crystals(masks, measure(masks, 48, 64, 0.1), 48, 64).to_pylist()
    return make_crystal(shape, **row, **facts)


@pytest.fixture(scope="session")
def make_crystal() -> MakeCrystal:
    return crystal_row


@pytest.fixture(scope="session")
def make_tile() -> MakeTile:
    def make(name: str = "a", well: str = "A", depth_m: float = 1200.0, **facts: Any) -> Tile:
        plain: dict[str, Any] = {
            "uri": f"/core/well={well}/depth={depth_m}/{name}.tif",
            "width": 64,
            "height": 48,
            "pixel_size_um": 0.1,
            "pixel_size_source": "vendor",
            "crystal_area_fraction": 0.5,
            "segmenter": "compact@0123456789ab",
            "classifier": "nsr@0123456789ab",
            "scan_id": "one",
        }
        plain |= facts
        return Tile(tile_id=tile_id(plain["uri"]), well=well, depth_m=depth_m, **plain)

    return make


@pytest.fixture(scope="session")
def commit() -> Commit:
    """Commits (tile, crystals) pairs; `n_crystals` is filled in."""

    def commit_pairs(catalog: Catalog, *pairs: tuple[Tile, Sequence[Row]]) -> None:
        pairs = tuple(
            (dataclasses.replace(tile, n_crystals=len(crystals)), crystals)
            for tile, crystals in pairs
        )
        tiles = tile_table([tile for tile, _ in pairs])
        catalog.commit(catalog_rows(pairs, catalog.depth_bin_m), tiles)

    return commit_pairs


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.create(tmp_path / "catalog", _NARROW_BINS_M)


@pytest.fixture(scope="session")
def core(
    tmp_path_factory: pytest.TempPathFactory,
    make_tile: MakeTile,
    make_crystal: MakeCrystal,
    commit: Commit,
) -> Catalog:
    """Three wells, read only: A from 1200 to 1590 m every 10 m, B without pixel size, C failed.

    Crystal k of tile n in A has shape (n + k) mod 4 and a diameter of 1 + n/10 µm.
    """
    catalog = Catalog.create(tmp_path_factory.mktemp("core") / "catalog", _NARROW_BINS_M)
    pairs: list[tuple[Tile, list[Row]]] = []
    for n in range(40):
        size = {"equivalent_diameter_um": 1 + n / 10}
        crystals = [make_crystal(SHAPES[(n + k) % 4], **size) for k in range(5)]
        pairs.append((make_tile(f"a{n}", "A", 1200.0 + 10 * n), crystals))
    unknown = {"equivalent_diameter_um": None, "area_um2": None, "major_axis_um": None}
    pairs.append((make_tile("b", "B 2/Ü", 20.5, pixel_size_um=None), [make_crystal(**unknown)]))
    failed = make_tile("c", "C", -3.0, status="failed", error="empty file", width=None)
    pairs.append((failed, []))
    commit(catalog, *pairs)
    return catalog
