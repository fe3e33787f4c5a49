"""The stages without Ray: every tile comes out of each, with its result or its reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tifffile
from PIL import Image

from mcn.analyzer import Analyzer
from mcn.catalog.schema import TILES, tile_id
from mcn.catalog.wells import plain_well, well_fault
from mcn.micrograph import DEFAULT_LIMITS, Limits
from mcn.sources.listing import find_tiles
from mcn.sources.manifest import read_manifest
from pipelines import rows
from pipelines.models import ScanModels
from pipelines.planning import PLANNED
from pipelines.stages import ClassifyTiles, ModelError, ReadTiles, SegmentTiles, Stamp

from .conftest import draw

STAMP = Stamp("otsu@000000000000", "mean@000000000000", "scan")


def named(listed: pa.Table) -> pa.Table:
    """Tiles as a plan has them."""
    names = [tile_id(uri) for uri in listed["uri"].to_pylist()]
    return listed.add_column(0, PLANNED.field("tile_id"), pa.array(names))


def listed(core: Path) -> pa.Table:
    return named(pa.Table.from_batches(find_tiles(str(core))))


def read(core: Path, limits: Limits = DEFAULT_LIMITS) -> pa.Table:
    return pa.concat_tables(ReadTiles(limits).read(listed(core)))


def scan(core: Path, models: ScanModels) -> list[dict[str, Any]]:
    segmented = SegmentTiles(models.load_segmenter, 1, STAMP)(read(core))
    assert segmented.schema == rows.SEGMENTED
    classified = ClassifyTiles(models.load_classifier, 1, STAMP)(segmented)
    assert classified.select(TILES.names).schema == TILES
    return classified.to_pylist()


def test_the_stages_give_what_the_analyzer_gives(core: Path, models: ScanModels) -> None:
    tiles = scan(core, models)
    micrographs = [m for m in rows.unpack_micrographs(read(core)) if m is not None]
    expected = Analyzer(models.load_segmenter(), models.load_classifier()).analyze(micrographs)
    assert len(tiles) == len(expected) == 8
    for tile, crystals in zip(tiles, expected, strict=True):
        assert tile["status"] == "ok"
        assert tile["n_crystals"] == len(crystals) == len(tile["crystals"])
        assert (tile["height"], tile["width"], tile["scan_id"]) == (120, 160, "scan")
        assert 0 < tile["crystal_area_fraction"] < 1
        assert tile["seconds"] > 0
        assert tile["crystals"] == crystals.to_pylist()
        assert crystals["feret_max_um"].null_count == len(crystals)


def test_a_tile_that_fails_in_a_batch_does_not_take_the_others_along(
    core: Path, models: ScanModels
) -> None:
    for name, value in {"0": 13, "3": 251}.items():
        (path,) = core.glob(f"*/*/{name}.png")
        pixels = np.array(Image.open(path))
        pixels[(slice(0, 1), slice(0, 1)) if value == 13 else pixels == 200] = value
        Image.fromarray(pixels).save(path)
    tiles = {Path(tile["uri"]).stem: tile for tile in scan(core, models)}
    failed = {name: tile["error"] for name, tile in tiles.items() if tile["status"] == "failed"}
    assert failed == {
        "0": "segment failed: RuntimeError: out of memory",
        "3": "classify failed: RuntimeError: no such crystal",
    }
    assert len(tiles) == 8
    assert tiles["3"]["n_crystals"] == 0
    assert (tiles["3"]["crystals"], tiles["3"]["width"]) == ([], 160)


def test_reading_says_what_is_wrong_with_a_file(core: Path) -> None:
    for path in core.glob("*/*/1.png"):
        path.write_bytes(b"")
    before = listed(core)
    for path in core.glob("*/*/2.png"):
        path.unlink()
    tiles = pa.concat_tables(ReadTiles(Limits(max_bytes=10**6)).read(before)).to_pylist()
    assert [tile["uri"] for tile in tiles] == before["uri"].to_pylist()
    errors = {Path(tile["uri"]).stem: tile["error"] for tile in tiles if tile["error"]}
    assert errors.keys() == {"1", "2"}
    assert "1.png: " in errors["1"]
    assert "empty" in errors["1"]
    assert "2.png: there is no such object any more" in errors["2"]


def test_an_object_too_large_is_not_fetched(core: Path) -> None:
    tiles = read(core, Limits(max_bytes=100)).to_pylist()
    assert all("bytes" in tile["error"] for tile in tiles)
    assert all(tile["pixels"] is None for tile in tiles)


def test_the_manifest_tells_the_pixel_size_and_the_sidecar_too(core: Path) -> None:
    first, second = sorted(core.glob("*/*/*.png"))[:2]
    (core / "b.txt").write_text("$CM_FORMAT JEOL\n$$SM_MICRON_BAR 100\n$$SM_MICRON_MARKER 1um\n")
    (core / "m.csv").write_text(
        "uri,well,depth_m,pixel_size_um,sidecar\n"
        f"{first},A,1,0.25,\n{second.relative_to(core)},A,2,,b.txt\n"
    )
    (batch,) = read_manifest(str(core / "m.csv"), str(core))
    tiles = pa.concat_tables(ReadTiles(Limits()).read(named(pa.table(batch)))).to_pylist()
    assert [tile["error"] for tile in tiles] == [None, None]
    assert [(tile["pixel_size_um"], tile["pixel_size_source"]) for tile in tiles] == [
        (0.25, "manifest"),
        (0.01, "vendor"),
    ]


def test_a_worker_with_another_model_does_no_work(models: ScanModels) -> None:
    other = replace(STAMP, segmenter="otsu@111111111111", classifier="mean@111111111111")
    with pytest.raises(ModelError, match=r"loaded otsu@000000000000, not otsu@111111111111"):
        SegmentTiles(models.load_segmenter, 1, other)
    with pytest.raises(ModelError, match=r"loaded mean@000000000000, not mean@111111111111"):
        ClassifyTiles(models.load_classifier, 1, other)


def test_pages_that_are_not_read_are_said_in_the_row(tmp_path: Path, models: ScanModels) -> None:
    folder = tmp_path / "well=A" / "depth=1"
    folder.mkdir(parents=True)
    with tifffile.TiffWriter(folder / "three.tif") as writer:
        for seed in range(3):
            writer.write(draw(seed), metadata=None)
    Image.fromarray(draw(0)).save(folder / "one.png")
    tiles = {Path(tile["uri"]).stem: tile for tile in scan(tmp_path, models)}
    assert [tiles[name]["status"] for name in ("one", "three")] == ["ok", "ok"]
    assert tiles["one"]["note"] is None
    assert tiles["three"]["note"] == "page 1 of 3 is read; save the others as files of their own"


def test_a_tile_of_a_well_too_long_for_a_folder_fails_and_the_others_go_on(
    core: Path, models: ScanModels
) -> None:
    tiles = listed(core).to_pylist()
    long = "岩芯钻孔" * 20
    tiles[2] |= {"well": plain_well(long), "fault": well_fault(long)}
    planned = pa.Table.from_pylist(tiles, PLANNED)
    read_ = pa.concat_tables(ReadTiles(DEFAULT_LIMITS).read(planned))
    segmented = SegmentTiles(models.load_segmenter, 1, STAMP)(read_)
    rows_ = ClassifyTiles(models.load_classifier, 1, STAMP)(segmented).to_pylist()
    assert [row["status"] for row in rows_].count("ok") == len(tiles) - 1
    failed = next(row for row in rows_ if row["status"] == "failed")
    assert failed["well"] == plain_well(long)
    assert "too long for a folder" in failed["error"]
    assert "give it a shorter one in a manifest" in failed["error"]
