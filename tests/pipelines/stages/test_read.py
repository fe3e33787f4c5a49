"""Reading gives one row per tile, with its pixels or its error."""

from pathlib import Path

import pyarrow as pa

from mcn.micrograph import Limits
from mcn.sources.manifest import read_manifest
from pipelines.stages.read import ReadTiles

from .core_tiles import list_core, plan_tiles, read_core


def test_an_unreadable_tile_has_its_error(core: Path) -> None:
    for path in core.glob("*/*/1.png"):
        path.write_bytes(b"")
    before = list_core(core)
    for path in core.glob("*/*/2.png"):
        path.unlink()
    tiles = pa.concat_tables(ReadTiles(Limits(max_bytes=10**6)).read(before)).to_pylist()
    assert [tile["uri"] for tile in tiles] == before["uri"].to_pylist()
    errors = {Path(tile["uri"]).stem: tile["error"] for tile in tiles if tile["error"]}
    assert errors.keys() == {"1", "2"}
    assert "1.png: " in errors["1"]
    assert "empty" in errors["1"]
    assert "2.png: the object no longer exists" in errors["2"]


def test_a_too_large_object_is_not_fetched(core: Path) -> None:
    tiles = read_core(core, Limits(max_bytes=100)).to_pylist()
    assert all("bytes" in tile["error"] for tile in tiles)
    assert all(tile["pixels"] is None for tile in tiles)


def test_a_manifest_gives_pixel_size_and_sidecar(core: Path) -> None:
    first, second = sorted(core.glob("*/*/*.png"))[:2]
    (core / "b.txt").write_text("$CM_FORMAT JEOL\n$$SM_MICRON_BAR 100\n$$SM_MICRON_MARKER 1um\n")
    (core / "m.csv").write_text(
        "uri,well,depth_m,pixel_size_um,sidecar\n"
        f"{first},A,1,0.25,\n{second.relative_to(core)},A,2,,b.txt\n"
    )
    (batch,) = read_manifest(str(core / "m.csv"), str(core))
    tiles = pa.concat_tables(ReadTiles(Limits()).read(plan_tiles(pa.table(batch)))).to_pylist()
    assert [tile["error"] for tile in tiles] == [None, None]
    assert [(tile["pixel_size_um"], tile["pixel_size_source"]) for tile in tiles] == [
        (0.25, "manifest"),
        (0.01, "vendor"),
    ]
