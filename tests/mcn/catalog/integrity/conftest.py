"""A catalogue for the tests to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mcn.catalog.store import Catalog


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, make_tile, make_crystal, commit) -> Catalog:  # type: ignore[no-untyped-def]
    """Eight tiles of one well, committed separately."""
    catalog = Catalog.create(tmp_path_factory.mktemp("once") / "catalog")
    for number in range(8):
        rows = [make_crystal(confidence=0.5 + 0.01 * n) for n in range(20)]
        commit(catalog, (make_tile(str(number), "A", 1200.0 + number), rows))
    return catalog


@pytest.fixture
def filled(pristine: Catalog, tmp_path: Path) -> Catalog:
    """A copy of the catalogue to damage."""
    return Catalog.open(shutil.copytree(pristine.uri, tmp_path / "catalog"))
