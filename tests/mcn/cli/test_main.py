"""The command line as a user meets it: a real process, its exit code and its two streams."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ...waiting import DEADLINE_S

MCN = Path(sys.executable).parent / "mcn"


def mcn(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [MCN, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        cwd=cwd,
        env=environment,
    )


def refused(run: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit 1, nothing on standard output, one line that names the thing and no traceback."""
    assert run.returncode == 1, run.stderr
    assert run.stdout == ""
    (line,) = run.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys; sys.argv = ['mcn', '--help']\n"
        "from mcn.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'ray', 'pyarrow', 'matplotlib', 'duckdb'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"


def test_bad_usage_exits_2() -> None:
    assert mcn("nonsense").returncode == 2
    assert mcn("query").returncode == 2
    assert mcn("core", "x", "--wells", "0").returncode == 2


def test_training_tiles_are_rendered_once(tmp_path: Path) -> None:
    assert mcn("core", tmp_path / "heaps", "--varied", "--tiles", 1).returncode == 0
    names = sorted(str(p.relative_to(tmp_path / "heaps")) for p in tmp_path.rglob("*.png"))
    assert names == ["images/rendered_000000.png", "masks/rendered_000000.png"]
    refused(mcn("core", tmp_path / "heaps", "--varied", "--tiles", 1), "heaps")


def test_a_scan_prints_one_json_object(scanned: Path) -> None:
    summary = json.loads((scanned / "scan.json").read_text())
    assert summary["tiles_ok"] == 3
    assert summary["tiles_failed"] == summary["tiles_skipped"] == 0
    assert summary["crystals"] > 100
    assert {"seconds", "tiles_per_second"} <= summary.keys()


def test_the_same_scan_again_does_nothing_new(scanned: Path) -> None:
    summary = json.loads(mcn("scan", scanned / "core", scanned / "catalog", "--json").stdout)
    assert (summary["tiles_ok"], summary["tiles_skipped"], summary["crystals"]) == (0, 3, 0)


def test_a_question_by_well_depth_and_shape(scanned: Path) -> None:
    every = json.loads(mcn("query", scanned / "catalog", "--format", "json").stdout)
    summary = json.loads((scanned / "scan.json").read_text())
    assert len(every) == summary["crystals"]
    well = every[0]["well"]
    middle = sorted(row["depth_m"] for row in every)[len(every) // 2]
    words = ("--well", well, "--depth", f"{middle}:", "--shape", "rhombic", "--format", "json")
    some = json.loads(mcn("query", scanned / "catalog", *words).stdout)
    assert {row["crystal_id"] for row in some} == {
        row["crystal_id"] for row in every if row["depth_m"] >= middle and row["shape"] == "rhombic"
    }
    counted = mcn(
        "query",
        scanned / "catalog",
        "--sql",
        "SELECT count(*) AS n FROM crystals",
        "--format",
        "csv",
    )
    assert counted.stdout.split() == ['"n"', str(len(every))]


def test_a_log_and_an_export(scanned: Path, tmp_path: Path) -> None:
    well = json.loads(mcn("query", scanned / "catalog", "--limit", 1, "--format", "json").stdout)[
        0
    ]["well"]
    files = {kind: tmp_path / f"log.{kind}" for kind in ("png", "las", "csv")}
    words = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    assert mcn("log", scanned / "catalog", "--well", well, *words).returncode == 0
    with Image.open(files["png"]) as picture:
        assert min(picture.size) > 200
    assert "~Curve" in files["las"].read_text().title()
    assert mcn("export", scanned / "catalog", tmp_path / "coco.json").returncode == 0
    assert len(json.loads((tmp_path / "coco.json").read_text())["images"]) == 3


def test_looking_after_a_catalogue(scanned: Path) -> None:
    assert json.loads(mcn("catalog", "verify", scanned / "catalog").stdout)["ok"]
    assert mcn("catalog", "info", scanned / "catalog").returncode == 0


def test_a_picture_of_its_own(scanned: Path, tmp_path: Path) -> None:
    """Good and broken pictures together: rows for the one, a line for the other, exit 1."""
    tile = next((scanned / "core").glob("well=*/depth=*/*.tif"))
    (tmp_path / "broken.tif").write_bytes(tile.read_bytes()[:500])
    run = mcn("segment", tile, tmp_path / "broken.tif", "--out", tmp_path / "out", "--json")
    assert run.returncode == 1
    assert "broken.tif" in run.stderr
    assert "Traceback" not in run.stderr
    (image,) = json.loads(run.stdout)["images"]
    assert image["image"] == str(tile)
    assert image["pixel_size_um"] > 0
    row = image["crystals"][0]
    assert set(row["mask_rle"]) == {"size", "counts"}
    assert row["equivalent_diameter_um"] > 0
    with Image.open(image["overlay"]) as picture:
        assert min(picture.size) > 300
    stored = json.loads(mcn("query", scanned / "catalog", "--limit", 1, "--format", "json").stdout)
    assert set(row) == set(stored[0])


def test_pages_that_are_not_read_are_said(tmp_path: Path) -> None:
    pixels = np.full((80, 100), 60, dtype=np.uint8)
    pixels[20:50, 30:60] = 180
    pages = [Image.fromarray(np.roll(pixels, i)) for i in range(3)]
    path = tmp_path / "-three\npages.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    words = ("segment", path, "--out", tmp_path / "out", "--segmenter", "watershed", "--json")
    run = mcn(*words)
    assert run.returncode == 0, run.stderr
    (image,) = json.loads(run.stdout)["images"]
    assert image["pages"] == 3
    lines = run.stderr.splitlines()
    assert sum("warning: " in line and "page 1 of 3 is read" in line for line in lines) == 1


def test_explaining_adds_a_sheet_and_nothing_else(scanned: Path, tmp_path: Path) -> None:
    whole = next((scanned / "core").glob("well=*/depth=*/*.tif"))
    tile = tmp_path / "piece.png"
    with Image.open(whole) as picture:
        picture.crop((0, 0, 256, 256)).save(tile)
    plain = mcn("segment", tile, "--out", tmp_path / "plain", "--json")
    explained = mcn("segment", tile, "--out", tmp_path / "explained", "--json", "--explain")
    assert plain.returncode == explained.returncode == 0, explained.stderr
    files = {path.name for path in (tmp_path / "plain").iterdir()}
    sheet = f"{tile.stem}.explain.png"
    assert {path.name for path in (tmp_path / "explained").iterdir()} == files | {sheet}
    with Image.open(tmp_path / "explained" / sheet) as picture:
        assert min(picture.size) > 300
    (one,), (other,) = (json.loads(run.stdout)["images"] for run in (plain, explained))
    assert one.keys() == other.keys()
    assert one["crystals"]
    for row in one["crystals"] + other["crystals"]:
        del row["scanned_at"]
    assert one["crystals"] == other["crystals"]


def test_evaluating_the_segmenter(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    labels = np.zeros((96, 96), np.uint16)
    y, x = np.mgrid[:96, :96]
    labels[np.hypot(x - 48, y - 48) < 30] = 1
    grey = np.where(labels > 0, 190, 40) + np.random.default_rng(0).normal(0, 5, labels.shape)
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(tmp_path / "images" / "disc.png")
    Image.fromarray(labels).save(tmp_path / "masks" / "disc.png")
    metrics = json.loads(mcn("evaluate", "segmenter", tmp_path, "--json").stdout)
    assert metrics["n_images"] == metrics["n_true"] == 1
    assert metrics["f1_50"] == 1.0
    assert {"ap50", "ap", "mean_iou", "n_pred", "seconds_per_image"} <= metrics.keys()


def test_evaluating_the_classifier(scanned: Path) -> None:
    metrics = json.loads(mcn("evaluate", "classifier", scanned / "core", "--json").stdout)
    assert 0.25 < metrics["accuracy"] <= 1
    assert set(metrics["average_precision"]) == set(metrics["roc_auc"])
    assert "rhombic" in metrics["average_precision"]


def test_bad_input_is_one_line(scanned: Path, tmp_path: Path) -> None:
    catalog = scanned / "catalog"
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letters.txt").write_text("something else")
    refused(mcn("scan", tmp_path / "nowhere", tmp_path / "c"), "nowhere")
    refused(mcn("scan", tmp_path / "empty", tmp_path / "c"), "empty")
    refused(mcn("scan", tmp_path / "other", tmp_path / "c"), "other")
    refused(mcn("scan", scanned / "core", tmp_path / "other"), "other")
    refused(mcn("query", tmp_path / "empty"), "empty")
    refused(mcn("query", catalog, "--well", "Nowhere-1"), "Nowhere-1")
    refused(mcn("query", catalog, "--depth", "1300:1200"), "1300")
    refused(mcn("query", catalog, "--shape", "cubic"), "cubic", "rhombic")
    refused(mcn("query", catalog, "--sql", "SELECT * FROM '/etc/passwd'"))
    refused(mcn("evaluate", "segmenter", tmp_path / "empty"), "images/")
    refused(mcn("scan", scanned / "core", tmp_path / "c", "--segmenter", "nothing"), "nothing")
    assert not (tmp_path / "c").exists()


def test_debug_shows_where(tmp_path: Path) -> None:
    run = mcn("query", tmp_path / "nowhere", "--debug")
    assert run.returncode == 1
    assert "Traceback" in run.stderr


def test_pixel_sizes_that_cannot_be_are_bad_usage(tmp_path: Path) -> None:
    for words in (("segment", "a.tif", "--out", tmp_path), ("remote", "analyze", "a.tif")):
        for size in ("1e-300", "1e9", "nan"):
            run = mcn(*words, "--pixel-size", size)
            assert run.returncode == 2
            assert run.stdout == ""
            assert "cannot be" in run.stderr
