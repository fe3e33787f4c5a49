"""Complete scans on a real Ray, from tiles to a catalogue."""

import io
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from mcn.analyzer import Analyzer
from mcn.catalog.query import query, sql
from mcn.catalog.store import Catalog, CatalogError
from mcn.classify.classifier import save_classifier
from mcn.classify.modeling.network import MicroCrystalNet, NetworkSettings
from mcn.errors import McnError
from mcn.micrograph import read_micrograph
from mcn.taxonomy import Taxonomy
from pipelines.models import ScanModels
from pipelines.pipeline import ScanError
from pipelines.scan import ScanSettings, run_scan

from ..programs import program_environment
from ..waiting import DEADLINE_S

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

FREQUENT_COMMITS = ScanSettings(commit_tiles=2)


def tiles_of(catalog: str) -> dict[str, dict[str, Any]]:
    """Tile rows that a reader sees, by file name."""
    rows = sql(Catalog.open(catalog), "SELECT * FROM tiles").to_pylist()
    names = [Path(row["uri"]).name for row in rows]
    assert len(set(names)) == len(names)
    return dict(zip(names, rows, strict=True))


def crystals_of(catalog: str) -> list[dict[str, Any]]:
    return sql(Catalog.open(catalog), "SELECT * FROM crystals ORDER BY crystal_id").to_pylist()


def test_a_scan_and_later_scans_of_new_tiles(
    tmp_path: Path, models: ScanModels, draw_core: Callable[..., Path]
) -> None:
    core, catalog = draw_core(tmp_path / "core", tiles=20), str(tmp_path / "catalog")
    summary = run_scan(str(core), catalog, FREQUENT_COMMITS, models)
    assert (summary.tiles_ok, summary.tiles_failed, summary.tiles_skipped) == (20, 0, 0)
    assert summary.seconds > 0
    assert summary.tiles_per_second > 0
    before = crystals_of(catalog)
    assert len(before) == summary.crystals > 50
    assert Catalog.open(catalog).snapshot().tiles.version >= 3, "commits while it runs"

    analyzer = Analyzer(models.load_segmenter(), models.load_classifier())
    for row in tiles_of(catalog).values():
        assert row["scan_id"] == summary.scan_id
        (expected,) = analyzer.analyze([read_micrograph(row["uri"])])
        stored = [crystal for crystal in before if crystal["tile_id"] == row["tile_id"]]
        names = expected.column_names
        assert [{name: c[name] for name in names} for c in stored] == expected.to_pylist()

    version = Catalog.open(catalog).snapshot().tiles.version
    again = run_scan(str(core), catalog, FREQUENT_COMMITS, models)
    assert (again.tiles_ok, again.tiles_skipped, again.crystals) == (0, 20, 0)
    assert Catalog.open(catalog).snapshot().tiles.version == version
    assert crystals_of(catalog) == before

    (changed,) = core.glob("*/*/3.png")
    Image.fromarray(np.zeros((90, 90), np.uint8)).save(changed)
    (core / "well=C/depth=5").mkdir(parents=True)
    Image.fromarray(np.eye(90, dtype=np.uint8) * 200).save(core / "well=C/depth=5/new.png")
    more = run_scan(str(core), catalog, FREQUENT_COMMITS, models)
    assert (more.tiles_ok, more.tiles_failed, more.tiles_skipped) == (2, 0, 19)
    after = tiles_of(catalog)
    assert len(after) == 21
    assert (after["3.png"]["width"], after["3.png"]["scan_id"]) == (90, more.scan_id)


def huge_png() -> bytes:
    """A picture of 100 000 × 100 000 pixels whose file holds only a header."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def truncated_tiff() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(40_000, dtype=np.uint8).reshape(200, 200)).save(file, "TIFF")
    return file.getvalue()[:20_000]


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("tile.tif", b"II*\0")
    return file.getvalue()


@pytest.mark.long
def test_broken_tiles_become_failed_rows(core: Path, tmp_path: Path, models: ScanModels) -> None:
    broken = {
        "truncated.tif": truncated_tiff(),
        "empty.tif": b"",
        "text.png": b"this is no picture",
        "archive.zip": archive(),
        "huge.png": huge_png(),
    }
    for name, data in broken.items():
        (core / "well=A" / "depth=1000" / name).write_bytes(data)
    (poison,) = core.glob("*/*/5.png")
    pixels = np.array(Image.open(poison))
    pixels[0, 0] = 13
    Image.fromarray(pixels).save(poison)

    catalog = str(tmp_path / "catalog")
    summary = run_scan(str(core), catalog, FREQUENT_COMMITS, models)
    assert (summary.tiles_ok, summary.tiles_failed) == (7, 6)
    rows = tiles_of(catalog)
    failed = {name: row["error"] for name, row in rows.items() if row["status"] == "failed"}
    assert failed.keys() == {*broken, "5.png"}
    assert summary.first_error in failed.values()
    for name in broken:
        assert name in failed[name], failed[name]
        assert "\n" not in failed[name]
    assert len(set(failed.values())) == 6
    assert {row["status"] for name, row in rows.items() if name not in failed} == {"ok"}
    assert {crystal["tile_id"] for crystal in crystals_of(catalog)} == {
        row["tile_id"] for row in rows.values() if row["status"] == "ok"
    }

    assert run_scan(str(core), catalog, FREQUENT_COMMITS, models).tiles_skipped == 13
    pixels[0, 0] = 30
    stamp = poison.stat()
    Image.fromarray(pixels).save(poison)
    os.utime(poison, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    retried = run_scan(str(core), catalog, replace(FREQUENT_COMMITS, retry_failed=True), models)
    assert (retried.tiles_ok, retried.tiles_failed, retried.tiles_skipped) == (1, 5, 7)
    assert tiles_of(catalog)["5.png"]["status"] == "ok"


@pytest.mark.long
def test_tiles_and_catalogue_in_an_object_store(
    core: Path, object_store: Callable[[], str], models: ScanModels
) -> None:
    bucket = object_store()
    fs = fsspec.filesystem("s3")
    for path in core.glob("*/*/*.png"):
        fs.put_file(str(path), f"{bucket}/core/{path.relative_to(core)}")
    fs.pipe(f"{bucket}/core/well=A/depth=1000/nothing.tif", b"")
    source, catalog = f"{bucket}/core", f"{bucket}/catalog"
    summary = run_scan(source, catalog, FREQUENT_COMMITS, models)
    assert (summary.tiles_ok, summary.tiles_failed) == (8, 1)
    rows = tiles_of(catalog)
    assert rows["1.png"]["uri"] == f"{bucket}/core/well=B/depth=1010/1.png"
    assert rows["1.png"]["etag"] == fs.info(rows["1.png"]["uri"])["ETag"].strip('"')
    assert len(crystals_of(catalog)) == summary.crystals > 50
    deep = query(Catalog.open(catalog), ["B"], (1030, 1070)).to_pylist()
    assert {crystal["depth_m"] for crystal in deep} == {1030, 1050, 1070}
    again = run_scan(source, catalog, FREQUENT_COMMITS, models)
    assert (again.tiles_ok, again.tiles_failed, again.tiles_skipped) == (0, 0, 9)


@pytest.mark.long
def test_a_manifest_instead_of_a_pattern(core: Path, tmp_path: Path, models: ScanModels) -> None:
    manifest = tmp_path / "tiles.csv"
    paths = sorted(str(path.relative_to(core)) for path in core.glob("well=A/*/*.png"))
    lines = [f"{path},Well 1,{depth}.5,0.02" for depth, path in enumerate([*paths, paths[0]])]
    manifest.write_text("\n".join(["uri,well,depth_m,pixel_size_um", *lines, "gone.png,W,1,"]))
    catalog = str(tmp_path / "catalog")
    settings = ScanSettings(manifest=str(manifest), depth_bin_m=2)
    summary = run_scan(str(core), catalog, settings, models)
    assert (summary.tiles_ok, summary.tiles_failed) == (4, 1)
    rows = tiles_of(catalog)
    assert {row["pixel_size_source"] for row in rows.values() if row["status"] == "ok"} == {
        "manifest"
    }
    assert rows["gone.png"]["error"].endswith("the object no longer exists; list the tiles again")
    crystals = crystals_of(catalog)
    assert {crystal["depth_bin"] for crystal in crystals} == {0, 2}
    assert all(crystal["equivalent_diameter_um"] > 0 for crystal in crystals)


@pytest.mark.parametrize(
    ("source", "catalog", "settings", "message"),
    [
        ("nowhere", "catalog", {}, "nowhere: does not exist"),
        ("empty", "catalog", {}, "empty: is empty"),
        ("core", "catalog", {"pattern": "{well}/{depth_m}"}, "none of 2 objects matches"),
        ("core", "catalog", {"manifest": "none.csv"}, "no such manifest"),
        ("core", "full", {}, "contains other files"),
        ("core", "full/notes.txt", {}, "is a file; a catalogue needs"),
        ("core", "gopher://catalog", {}, "cannot be stored at gopher://"),
        ("core", "catalog", {"depth_bin_m": -1.0}, "depth bins of -1.0 m"),
        ("memory://core", "catalog", {}, "workers cannot read the memory of this process"),
        ("s3://no-such-bucket-here/core", "catalog", {}, "does not exist"),
    ],
)
@pytest.mark.usefixtures("object_store")
def test_invalid_input_gives_one_line_and_leaves_no_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    models: ScanModels,
    source: str,
    catalog: str,
    settings: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("core/well=A/depth=1/a.png", "core/well=A/depth=2/b.png", "full/notes.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("nothing much")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(McnError, match=re.escape(message)) as error:
        run_scan(source, catalog, ScanSettings(**settings), models)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.long
def test_models_that_cannot_be_loaded_stop_the_scan(
    core: Path, tmp_path: Path, models: ScanModels
) -> None:
    def missing() -> Any:
        raise FileNotFoundError("no weights\nhere")

    with pytest.raises(ScanError) as error:
        run_scan(
            str(core),
            str(tmp_path / "c"),
            FREQUENT_COMMITS,
            replace(models, load_segmenter=missing),
        )
    assert str(error.value).startswith("the scan stopped (FileNotFoundError: no weights here); ")
    assert "\n" not in str(error.value)


SCRIPT = """
import json, sys
from dataclasses import asdict
from itertools import repeat
from pipelines.models import ScanModels
from pipelines.scan import run_scan
from tests.fakes import BrightnessClassifier, FixedSegmenter

def find_nothing():
    return FixedSegmenter(repeat([]))

models = ScanModels(
    FixedSegmenter.name, BrightnessClassifier.name, find_nothing, BrightnessClassifier
)
print(json.dumps(asdict(run_scan(sys.argv[1], sys.argv[2], models=models))))
"""


@pytest.mark.long
def test_a_scan_starts_ray_from_any_folder_without_output(core: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(core), "catalog"],
        cwd=away,
        env=program_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tiles_ok"] == 8
    assert done.stderr == ""
    assert len(tiles_of(str(away / "catalog"))) == 8


@pytest.mark.long
def test_a_scan_with_the_package_models_matches_the_analyzer(tmp_path: Path) -> None:
    import torch

    from mcn.classify import load_classifier
    from mcn.segment import load_segmenter
    from mcn.synthetic.core import render_core

    core, catalog = tmp_path / "core", str(tmp_path / "catalog")
    render_core(core, wells=1, tiles=2, seed=1)
    summary = run_scan(str(core), catalog)
    assert (summary.tiles_ok, summary.tiles_failed) == (2, 0)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    analyzer = Analyzer(load_segmenter(), load_classifier())
    rows = sorted(tiles_of(catalog).values(), key=lambda row: row["depth_m"])
    expected = analyzer.analyze([read_micrograph(row["uri"]) for row in rows])
    torch.set_num_threads(threads)
    assert (summary.segmenter, summary.classifier) == (
        analyzer.segmenter.name,
        analyzer.classifier.name,
    )
    for row, crystals in zip(rows, expected, strict=True):
        assert row["pixel_size_source"] == "vendor"
        stored = [c for c in crystals_of(catalog) if c["tile_id"] == row["tile_id"]]
        assert len(stored) == row["n_crystals"] == len(crystals) > 0
        assert [(c["bbox_y"], c["bbox_x"], c["shape"]) for c in stored] == [
            (c["bbox_y"], c["bbox_x"], c["shape"]) for c in crystals.to_pylist()
        ]
        for name, tolerance in (("area_um2", 1e-6), ("confidence", 1e-4)):
            expected_values = pytest.approx(crystals[name].to_pylist(), abs=tolerance)
            assert [c[name] for c in stored] == expected_values


@pytest.mark.long
def test_a_scan_for_another_rock_creates_a_catalogue_of_its_shapes(
    core: Path, tmp_path: Path, models: ScanModels
) -> None:
    """Two custom classes, in a weights file as `mcn train classifier` writes it."""
    coins = Taxonomy({"round": "smooth", "square": "edged"})
    small = NetworkSettings(stem=4, widths=(8, 8, 8), reduced=(4, 4, 4), taxonomy=coins)
    weights = tmp_path / "coins.safetensors"
    save_classifier(weights, MicroCrystalNet(small))
    scan_settings = replace(FREQUENT_COMMITS, segmenter="watershed", classifier=str(weights))
    catalog = str(tmp_path / "coins")
    summary = run_scan(str(core), catalog, scan_settings)
    assert (summary.tiles_ok, summary.tiles_failed) == (8, 0)
    rows = query(Catalog.open(catalog)).to_pylist()
    assert len(rows) == summary.crystals > 0
    assert {row["shape"] for row in rows} <= {"round", "square"}
    assert all(row["facet"] == coins.facet_of[row["shape"]] for row in rows)
    assert rows[0]["p_round"] + rows[0]["p_square"] == pytest.approx(1)
    with pytest.raises(CatalogError, match="has the shapes round, square, and the classifier"):
        run_scan(str(core), catalog, FREQUENT_COMMITS, models)
