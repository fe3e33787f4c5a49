"""Parts of the page without a browser: masks, intervals, steps of a log."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

VIEWER = Path(__file__).resolve().parents[3] / "serve/viewer"
ESBUILD = VIEWER / "node_modules/.bin/esbuild"

pytestmark = pytest.mark.skipif(
    not ESBUILD.exists() or shutil.which("node") is None,
    reason="Node or the page's packages are not installed; run: make setup",
)


def evaluate(folder: Path, module: str, expression: str, **values: Any) -> Any:
    """The value of an expression of a module of the page, in Node."""
    bundle = folder / f"{module}.mjs"
    options = ("--bundle", "--format=esm", "--log-level=error", f"--outfile={bundle}")
    command = [str(ESBUILD), f"src/{module}.ts", *options]
    subprocess.run(command, cwd=VIEWER, check=True, timeout=60)
    names = ", ".join(values)
    script = (
        f"import * as module from {json.dumps(bundle.as_uri())};"
        f"const {{{names}}} = JSON.parse(process.argv[1]);"
        f"console.log(JSON.stringify({expression}));"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script, json.dumps(values)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_read_as_pycocotools_writes_them(seed: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(seed).random((70, 90)) > 0.5
    rle = coco.encode(np.asfortranarray(pixels.astype(np.uint8)))
    runs = evaluate(tmp_path, "rle", "module.runLengths(counts)", counts=rle["counts"].decode())
    flat = np.repeat(np.arange(len(runs)) % 2, runs)
    np.testing.assert_array_equal(flat.reshape(90, 70).T, pixels)


def test_the_outline_of_a_preview_has_the_area_of_its_mask(tmp_path: Path) -> None:
    y, x = np.mgrid[:60, :80]
    pixels = (y - 30) ** 2 / 300 + (x - 40) ** 2 / 500 < 1
    rle = coco.encode(np.asfortranarray(pixels.astype(np.uint8)))
    mask = {"size": [60, 80], "counts": rle["counts"].decode()}
    ring = np.array(evaluate(tmp_path, "rle", "module.extentOf(mask)", mask=mask))
    left, top = ring.T
    area = abs(np.sum(left * np.roll(top, 1) - np.roll(left, 1) * top)) / 2
    assert area == pixels.sum()


def test_statistics_are_those_of_numpy_and_intervals_resample_tiles(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = ["rhombic", "spherical"]
    crystals = [
        {"tile_id": str(tile), "shape": shapes[int(rng.random() < share)], "size": size}
        for tile, share in enumerate(np.linspace(0.1, 0.6, 30))
        for size in rng.lognormal(0.5 + share, 0.4, 60)
    ]
    sizes = [crystal["size"] for crystal in crystals]
    found = evaluate(
        tmp_path, "sampling", "module.statisticsOf(crystals, shapes, range, 24)",
        crystals=crystals, shapes=shapes, range=[min(sizes) * 0.95, max(sizes) * 1.05],
    )  # fmt: skip
    share = np.mean([crystal["shape"] == "spherical" for crystal in crystals])
    spherical = found["fractions"]["spherical"]
    assert spherical["value"] == pytest.approx(share)
    for name, quantile in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9)):
        estimate = found["quantiles"][name]
        assert estimate["value"] == pytest.approx(np.quantile(sizes, quantile), rel=0.02)
        assert estimate["low"] < estimate["value"] < estimate["high"]
    assert sum(bin["value"] for bin in found["distribution"]) == pytest.approx(1)
    by_crystal = 2 * 1.96 * np.sqrt(share * (1 - share) / len(crystals))
    assert spherical["high"] - spherical["low"] > 1.3 * by_crystal, "tiles differ among themselves"


@pytest.mark.parametrize(
    ("seen", "whole", "step"), [(300, 300, None), (30, 300, 0.5), (0.1, 300, 0.1), (50, 5000, 2)]
)
def test_a_log_is_asked_for_in_steps_that_fit_what_is_seen(
    seen: float, whole: float, step: float | None, tmp_path: Path
) -> None:
    found = evaluate(tmp_path, "depth_steps", "module.stepFor(seen, whole)", seen=seen, whole=whole)
    assert found == step
