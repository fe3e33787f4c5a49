"""Batches are committed after a number of tiles or a time, and the rest at the end."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcn.catalog.active_files import files
from mcn.catalog.query import sql
from mcn.catalog.reading.versions import history
from mcn.catalog.schema import CRYSTALS, Tile, tile_table
from mcn.catalog.storage import CatalogError
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.scan_lease import ScanLease
from pipelines.batch import Count, WrittenBatch
from pipelines.commit import Committer

from ..waiting import DEADLINE_S


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.create(tmp_path / "catalog")


@pytest.fixture
def lease(catalog: Catalog) -> Iterator[ScanLease]:
    with ScanLease(catalog, "scan") as lease:
        yield lease


def written(catalog: Catalog, *names: str) -> WrittenBatch:
    tiles = tile_table(
        [
            Tile(
                tile_id=name,
                uri=f"s3://core/{name}",
                well="A",
                depth_m=1.0,
                segmenter="s",
                classifier="c",
                scan_id="scan",
            )
            for name in names
        ]
    )
    crystals = CRYSTALS.empty_table()
    parts, _ = catalog.write(crystals, tiles, "scan")
    (again,) = WrittenBatch.all_in(WrittenBatch.of(parts, tiles, crystals).as_table())
    assert again.count == Count(len(names))
    return again


def committed(catalog: Catalog) -> list[str]:
    return sql(catalog, "SELECT tile_id FROM tiles ORDER BY 1")["tile_id"].to_pylist()


def test_commits_after_a_number_of_tiles(catalog: Catalog, lease: ScanLease) -> None:
    done = threading.Event()
    with Committer(catalog, lease, 3, 3600, lambda batches, seconds: done.set()) as committer:
        committer.add(written(catalog, "a", "b"))
        assert not done.wait(0.2)
        committer.add(written(catalog, "c", "d"))
        assert done.wait(DEADLINE_S)
        assert committed(catalog) == ["a", "b", "c", "d"]
        committer.add(written(catalog, "e"))
    assert committed(catalog) == ["a", "b", "c", "d", "e"]
    version = catalog.snapshot().tiles.version
    with Committer(catalog, lease, 3, 3600):
        pass
    assert catalog.snapshot().tiles.version == version


def test_commits_after_a_time(catalog: Catalog, lease: ScanLease) -> None:
    done = threading.Event()
    with Committer(catalog, lease, 1000, 0.1, lambda batches, seconds: done.set()) as committer:
        committer.add(written(catalog, "a"))
        assert done.wait(DEADLINE_S)
        assert committed(catalog) == ["a"]


def test_failing_storage_stops_the_scan(catalog: Catalog, lease: ScanLease) -> None:
    lost = Catalog.create(f"{catalog.uri}-gone")
    shutil.rmtree(lost.uri)
    with (
        pytest.raises(CatalogError, match="there is no crystal catalogue"),
        Committer(lost, lease, 1, 3600) as committer,
    ):
        committer.add(written(catalog, "a"))


def test_waiting_batches_are_committed_when_the_scan_fails(
    catalog: Catalog, lease: ScanLease
) -> None:
    def scan() -> None:
        with Committer(catalog, lease, 1000, 3600) as committer:
            committer.add(written(catalog, "a"))
            raise ValueError("a worker is lost")

    with pytest.raises(ValueError, match="a worker is lost"):
        scan()
    assert committed(catalog) == ["a"]


def test_a_long_scan_leaves_few_files(catalog: Catalog, lease: ScanLease) -> None:
    with Committer(catalog, lease, 1, 3600, compact_files=4) as committer:
        for name in "abcdefgh":
            committer.add(written(catalog, name))
    assert committed(catalog) == [*"abcdefgh"]
    assert files(catalog.snapshot().tiles).num_rows < 4
    assert {"compaction", "scan"} <= {*history(catalog)["action"].to_pylist()}
