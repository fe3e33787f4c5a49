"""Rows are committed by number or by time, whichever is first, and none is left behind."""

from pathlib import Path

import pyarrow as pa

from mcn.catalog.schema import Tile, crystal_table, tile_table
from mcn.catalog.store import Catalog
from pipelines.commit import Committer
from pipelines.rows import in_lists


def classified(*names: str) -> pa.Table:
    tiles = [
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
    none = crystal_table([]).to_struct_array().combine_chunks()
    return tile_table(tiles).append_column("crystals", in_lists(none, [0] * len(tiles)))


def committed(catalog: Catalog) -> list[str]:
    return sorted(catalog.scanned("s", "c")["tile_id"].to_pylist())


def test_by_number(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "catalog")
    committer = Committer(catalog, tiles=3, seconds=3600)
    committer.add(classified("a", "b"))
    assert committed(catalog) == []
    committer.add(classified("c", "d"))
    assert committed(catalog) == ["a", "b", "c", "d"]
    committer.add(classified("e"))
    committer.flush()
    assert committed(catalog) == ["a", "b", "c", "d", "e"]
    version = catalog.tiles().version()
    committer.flush()
    assert catalog.tiles().version() == version


def test_by_time(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "catalog")
    committer = Committer(catalog, tiles=1000, seconds=0)
    committer.add(classified("a"))
    assert committed(catalog) == ["a"]
