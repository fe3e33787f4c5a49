"""The list of wells is that of the latest models, and right whatever was stored before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mcn.catalog.query import sql
from mcn.catalog.reading import well_list
from mcn.catalog.reading.well_list import STORED_AS, list_models, list_wells, store_well_list
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import compact

from ..conftest import Commit, MakeCrystal, MakeTile

EXPECTED = """
    SELECT well, count(*) AS tiles,
        count(*) FILTER (status = 'ok') AS tiles_ok,
        count(*) FILTER (status = 'failed') AS tiles_failed,
        coalesce(sum(n_crystals), 0)::BIGINT AS crystals,
        min(depth_m) AS depth_min_m, max(depth_m) AS depth_max_m, max(scanned_at) AS last_scan
    FROM {tiles} GROUP BY well ORDER BY well
"""


def check(catalog: Catalog) -> None:
    listed = list_wells(catalog)
    assert listed.to_pylist() == sql(catalog, EXPECTED.format(tiles="tiles")).to_pylist()
    models = EXPECTED.format(tiles="all_tiles").replace("well", "segmenter, classifier")
    assert list_models(catalog).to_pylist() == sql(catalog, models).to_pylist()


def test_the_list_follows_scans_of_other_models_and_processes(
    core: Catalog, tmp_path: Path, make_tile: MakeTile, make_crystal: MakeCrystal, commit: Commit
) -> None:
    catalog = Catalog(shutil.copytree(core.uri, tmp_path / "c"))
    check(catalog)
    store_well_list(catalog)
    other = Catalog(catalog.uri)
    commit(other, (make_tile("a0", "A", 1200.0, segmenter="vit_h@1"), [make_crystal()]))
    commit(other, (make_tile("d", "D", 5.0), [make_crystal()] * 2))
    check(catalog)
    check(Catalog(catalog.uri))  # From what was stored before these commits.
    compact(other)
    check(catalog)
    check(Catalog(catalog.uri))


def test_unchanged_wells_are_not_read_again(
    core: Catalog,
    tmp_path: Path,
    make_tile: MakeTile,
    commit: Commit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalog = Catalog(shutil.copytree(core.uri, tmp_path / "c"))
    compact(catalog)
    read: list[str] = []
    summarise = well_list._summarise

    def counted(catalog, tiles, wells):  # type: ignore[no-untyped-def]
        read.extend(wells)
        return summarise(catalog, tiles, wells)

    monkeypatch.setattr(well_list, "_summarise", counted)
    fresh = Catalog(catalog.uri)
    assert list_wells(fresh).num_rows == 3
    assert read == []
    commit(catalog, (make_tile("new", "C", 1.0), []))
    assert list_wells(fresh).num_rows == 3
    assert read == ["C"]


@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
def test_a_damaged_or_missing_list_is_made_again(
    core: Catalog, tmp_path: Path, content: bytes | None
) -> None:
    catalog = Catalog(shutil.copytree(core.uri, tmp_path / "c"))
    store_well_list(catalog)
    file = Path(catalog.uri, STORED_AS)
    data = file.read_bytes()
    if content is None:
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 1
        content = bytes(flipped)
    file.write_bytes(content)
    check(Catalog(catalog.uri))
    file.unlink()
    check(Catalog(catalog.uri))
