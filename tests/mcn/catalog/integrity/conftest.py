"""A catalogue to be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mcn.catalog.store import Catalog


@pytest.fixture(scope="module")
def once(tmp_path_factory, make_tile, make_crystal, commit) -> Catalog:  # type: ignore[no-untyped-def]
    """Eight tiles of one well, committed one by one."""
    catalog = Catalog.create(tmp_path_factory.mktemp("once") / "catalog")
    for number in range(8):
        rows = [make_crystal(confidence=0.5 + 0.01 * n) for n in range(20)]
        commit(catalog, (make_tile(str(number), "A", 1200.0 + number), rows))
    return catalog


@pytest.fixture
def filled(once: Catalog, tmp_path: Path) -> Catalog:
    """A copy of it, to be damaged."""
    return Catalog.open(shutil.copytree(once.uri, tmp_path / "catalog"))
