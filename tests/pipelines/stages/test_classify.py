"""Classification gives catalogue rows for every tile, with its crystals or its error."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tifffile
from PIL import Image

from mcn.analyzer import Analyzer
from mcn.catalog.wells import plain_well, well_fault
from mcn.micrograph import DEFAULT_LIMITS
from pipelines.models import ScanModels
from pipelines.planning import PLANNED
from pipelines.stages import rows
from pipelines.stages.classify import ClassifyTiles
from pipelines.stages.read import ReadTiles
from pipelines.stages.segment import SegmentTiles

from ..conftest import draw
from .core_tiles import LABELS, list_core, read_core, run_stages


def test_the_stages_give_the_same_as_the_analyzer(core: Path, models: ScanModels) -> None:
    tiles = run_stages(core, models)
    micrographs = [m for m in rows.unpack_micrographs(read_core(core)) if m is not None]
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


def test_a_failing_tile_does_not_fail_its_batch(core: Path, models: ScanModels) -> None:
    for name, value in {"0": 13, "3": 251}.items():
        (path,) = core.glob(f"*/*/{name}.png")
        pixels = np.array(Image.open(path))
        pixels[(slice(0, 1), slice(0, 1)) if value == 13 else pixels == 200] = value
        Image.fromarray(pixels).save(path)
    tiles = {Path(tile["uri"]).stem: tile for tile in run_stages(core, models)}
    failed = {name: tile["error"] for name, tile in tiles.items() if tile["status"] == "failed"}
    assert failed == {
        "0": "segment failed: RuntimeError: out of memory",
        "3": "classify failed: RuntimeError: no such crystal",
    }
    assert len(tiles) == 8
    assert tiles["3"]["n_crystals"] == 0
    assert (tiles["3"]["crystals"], tiles["3"]["width"]) == ([], 160)


@pytest.mark.parametrize("absurd", ["0", "-0.5", "nan", "1e6", "1e-9"])
def test_an_impossible_pixel_size_is_noted_in_the_row(
    absurd: str, tmp_path: Path, models: ScanModels
) -> None:
    folder = tmp_path / "well=A" / "depth=1"
    folder.mkdir(parents=True)
    ome = f'<OME><Pixels PhysicalSizeX="{absurd}" PhysicalSizeY="{absurd}"/></OME>'
    tifffile.imwrite(folder / "a.tif", draw(0), description=ome, metadata=None)
    (tile,) = run_stages(tmp_path, models)
    assert (tile["status"], tile["pixel_size_um"]) == ("ok", None)
    assert f"pixel size of {float(absurd):g} µm is impossible and ignored" in tile["note"]


def test_unread_pages_are_noted_in_the_row(tmp_path: Path, models: ScanModels) -> None:
    folder = tmp_path / "well=A" / "depth=1"
    folder.mkdir(parents=True)
    with tifffile.TiffWriter(folder / "three.tif") as writer:
        for seed in range(3):
            writer.write(draw(seed), metadata=None)
    Image.fromarray(draw(0)).save(folder / "one.png")
    tiles = {Path(tile["uri"]).stem: tile for tile in run_stages(tmp_path, models)}
    assert [tiles[name]["status"] for name in ("one", "three")] == ["ok", "ok"]
    assert tiles["one"]["note"] is None
    assert tiles["three"]["note"] == "only page 1 of 3 is read; save the others as separate files"


def test_a_well_name_too_long_for_a_folder_fails_only_its_tile(
    core: Path, models: ScanModels
) -> None:
    tiles = list_core(core).to_pylist()
    long_name = "岩芯钻孔" * 20
    tiles[2] |= {"well": plain_well(long_name), "fault": well_fault(long_name)}
    planned = pa.Table.from_pylist(tiles, PLANNED)
    tiles_read = pa.concat_tables(ReadTiles(DEFAULT_LIMITS).read(planned))
    segmented = SegmentTiles(models.load_segmenter, 1, LABELS)(tiles_read)
    tile_rows = ClassifyTiles(models.load_classifier, 1, LABELS)(segmented).to_pylist()
    assert [row["status"] for row in tile_rows].count("ok") == len(tiles) - 1
    failed = next(row for row in tile_rows if row["status"] == "failed")
    assert failed["well"] == plain_well(long_name)
    assert "too long for a folder" in failed["error"]
    assert "give it a shorter one in a manifest" in failed["error"]
