import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from mcn.mask import masks_from_labels
from mcn.synthetic.core import CoreSettings, CoreTruth, render_core
from mcn.synthetic.heap import RenderError
from mcn.taxonomy import FACET_OF_SHAPE, SHAPES

SMALL = CoreSettings(height=192, width=256)


@pytest.fixture
def core(small_core: CoreTruth) -> CoreTruth:
    return small_core


def digest(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_tile_paths_match_the_pattern(core):
    tile_paths = sorted(
        str(path.relative_to(core.out)) for path in core.out.glob("well=*/depth=*/*")
    )
    assert tile_paths == sorted(core.tiles["tile"].to_pylist())
    assert {path.name for path in core.out.iterdir() if "=" not in path.name} == {"truth"}
    for row in core.tiles.to_pylist():
        well, depth, _ = row["tile"].split("/")
        assert well == f"well={row['well']}"
        assert float(depth.removeprefix("depth=")) == row["depth_m"]
        assert 1200.0 <= row["depth_m"] <= 1500.0
    assert [core.tiles["well"].to_pylist().count(w) for w in ("Alder-1", "Birch-2")] == [5, 4]


def test_tables_on_disk_equal_those_returned(core):
    for name in ("tiles", "crystals", "zones"):
        assert pq.read_table(core.out / "truth" / f"{name}.parquet").equals(getattr(core, name))


def test_crystals_agree_with_the_masks(core):
    crystals = core.crystals.to_pylist()
    for tile in core.tiles.to_pylist():
        labels = tifffile.imread(core.out / "truth" / "masks" / tile["tile"])
        assert labels.dtype == np.uint16
        rows = [row for row in crystals if row["tile"] == tile["tile"]]
        masks = masks_from_labels(labels)
        assert len(rows) == len(masks) == tile["n_crystals"]
        for label, (row, mask) in enumerate(zip(rows, masks, strict=True), start=1):
            assert row["label"] == label
            box = (row["bbox_x"], row["bbox_y"], row["bbox_h"], row["bbox_w"])
            assert box == (mask.x, mask.y, *mask.pixels.shape)
            assert row["area_px"] == mask.pixels.sum()
            area_um2 = np.pi / 4 * row["equivalent_diameter_um"] ** 2
            assert area_um2 == pytest.approx(row["area_px"] * tile["pixel_size_um"] ** 2)
            assert row["facet"] == FACET_OF_SHAPE[row["shape"]]
        analysed = (tile["data_bar_y"] or tile["height"]) * tile["width"]
        assert tile["crystal_area_fraction"] == pytest.approx((labels > 0).sum() / analysed)
        shares = [np.mean([row["shape"] == shape for row in rows]) for shape in SHAPES]
        np.testing.assert_allclose([tile[f"fraction_{shape}"] for shape in SHAPES], shares)


def test_crystals_at_the_data_bar_touch_the_edge(core):
    barred = {r["tile"]: r for r in core.tiles.to_pylist() if r["data_bar_y"] is not None}
    assert 0 < len(barred) < core.tiles.num_rows
    for row in core.crystals.to_pylist():
        if row["tile"] in barred:
            bottom = row["bbox_y"] + row["bbox_h"]
            assert bottom <= barred[row["tile"]]["data_bar_y"]
            if bottom == barred[row["tile"]]["data_bar_y"]:
                assert row["touches_edge"]


def test_the_pixel_size_is_in_the_tag_of_an_fei_microscope(core):
    for row in core.tiles.to_pylist():
        with tifffile.TiffFile(core.out / row["tile"]) as tiff:
            assert tiff.fei_metadata is not None
            metres = tiff.fei_metadata["Scan"]["PixelWidth"]
            assert metres * 1e6 == pytest.approx(row["pixel_size_um"], rel=1e-6)
            image = tiff.asarray()
        assert image.shape == (row["height"], row["width"]) == (192, 256)
        assert image.dtype == np.uint8


def test_rendered_tiles_differ_between_zones(tmp_path):
    core = render_core(tmp_path, wells=1, tiles=16, seed=0, settings=SMALL)
    rows = core.tiles.to_pylist()

    def mean(zone, column):
        return np.mean([row[column] for row in rows if row["zone"] == zone])

    for zone, shape in (
        ("upper tight rhombic", "rhombic"),
        ("vuggy polyhedral", "polyhedral"),
        ("chalky spheroidal", "spherical"),
        ("lower compact anhedral", "amorphous"),
    ):
        assert mean(zone, f"fraction_{shape}") == max(
            mean(zone, f"fraction_{other}") for other in SHAPES
        )
    assert mean("vuggy polyhedral", "porosity") > 2 * mean("upper tight rhombic", "porosity")
    assert mean("vuggy polyhedral", "mean_equivalent_diameter_um") > 1.3 * mean(
        "chalky spheroidal", "mean_equivalent_diameter_um"
    )


def test_a_core_has_the_same_bytes_from_one_process_or_two(tmp_path):
    progress = []
    for folder, workers in (("one", 1), ("two", 2)):
        render_core(
            tmp_path / folder,
            wells=1,
            tiles=2,
            settings=SMALL,
            workers=workers,
            on_tile=progress.append,
        )
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert len(progress) == 4
    assert progress[:2] == progress[2:]


def test_rendering_the_same_core_again_changes_nothing(tmp_path):
    before = digest(render_core(tmp_path, wells=1, tiles=1, settings=SMALL).out)
    assert digest(render_core(tmp_path, wells=1, tiles=1, settings=SMALL).out) == before
    with pytest.raises(RenderError, match="other files"):
        render_core(tmp_path, wells=1, tiles=1, seed=1, settings=SMALL)
    assert digest(tmp_path) == before


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RenderError, match="other files"):
        render_core(tmp_path, settings=SMALL)
    with pytest.raises(RenderError, match="it is a file"):
        render_core(tmp_path / "thesis.txt", settings=SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(("wells", "tiles"), [(0, 4), (3, 2)])
def test_fewer_tiles_than_wells_are_refused(tmp_path, wells, tiles):
    with pytest.raises(RenderError, match="at least one tile per well"):
        render_core(tmp_path / "core", wells=wells, tiles=tiles, settings=SMALL)
    assert not (tmp_path / "core").exists()
