"""Catalogues of many small files, and the id of a dead process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mcn.catalog.store import Catalog

from ....waiting import DEADLINE_S


@pytest.fixture
def fragmented(catalog: Catalog, make_tile, make_crystal, commit) -> Catalog:  # type: ignore[no-untyped-def]
    """A catalogue of eight commits into two bins of one well."""
    for number in range(8):
        tile = make_tile(str(number), "A 1", 100.0 * (number % 2) + number)
        commit(catalog, (tile, [make_crystal()] * 3))
    return catalog


@pytest.fixture
def dead_process() -> int:
    """Id of a process that has ended."""
    return int(
        subprocess.check_output(
            [sys.executable, "-c", "import os; print(os.getpid())"], timeout=DEADLINE_S
        )
    )
