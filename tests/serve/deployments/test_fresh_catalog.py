"""Questions are answered from a snapshot of a stated age, whatever the storage does."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from mcn.catalog.schema import Tile, tile_id, tile_table
from mcn.catalog.storage import CatalogStorageError
from mcn.catalog.store import Catalog
from serve.deployments import fresh_catalog
from serve.deployments.fresh_catalog import FreshCatalog

DEADLINE_S = 30.0


def commit(catalog: Catalog, name: str) -> None:
    facts: dict[str, Any] = {"uri": name, "well": "A", "depth_m": 1.0, "scan_id": "one"}
    tile = Tile(tile_id=tile_id(name), segmenter="s@1", classifier="c@1", **facts)
    catalog.commit(catalog.crystals_schema.empty_table(), tile_table([tile]))


def test_without_an_age_each_question_sees_the_last_commit(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "c")
    fresh = FreshCatalog(Catalog(catalog.uri), 0.0)
    for version in (1, 2):
        commit(catalog, f"{version}")
        assert fresh.snapshot().tiles.version == version
    shutil.rmtree(catalog.uri)
    with pytest.raises(CatalogStorageError, match="the catalogue is gone"):
        fresh.snapshot()


def test_commits_are_read_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog.create(tmp_path / "c")
    opened = Catalog(catalog.uri)
    refreshed = threading.Event()
    asked = threading.current_thread()

    def snapshot() -> Any:
        now = Catalog.snapshot(opened)
        if now.tiles.version == 1 and threading.current_thread() is not asked:
            refreshed.set()
        return now

    monkeypatch.setattr(opened, "snapshot", snapshot)
    fresh = FreshCatalog(opened, 0.2)
    commit(catalog, "a")
    fresh.snapshot()
    assert refreshed.wait(DEADLINE_S), "by the thread"
    assert fresh.snapshot().tiles.version == 1


def test_a_question_reads_the_log_if_nothing_else_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog.create(tmp_path / "c")
    monkeypatch.setattr(fresh_catalog, "_IDLE_S", -1.0)  # The thread sleeps.
    fresh = FreshCatalog(Catalog(catalog.uri), 3600.0)
    commit(catalog, "a")
    assert fresh.snapshot().tiles.version == 0
    fresh._most_s = 1e-9
    assert fresh.snapshot().tiles.version == 1
