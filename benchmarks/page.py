"""How fast the page draws: a well of 5,000 tiles, and a tile of 50 megapixels with 3,000 crystals.

Fills a catalogue, serves it as `mcn serve` does, and measures in a headless Chromium: seconds until
a well's log is drawn, counted by the page from the start of the navigation, and frames a second
while the tile is panned, with every outline in view and with a tenth of them. The same pan without
outlines says what the browser can do on this machine. Prints one JSON object; needs Playwright and
Debian's `chromium`.

    python benchmarks/page.py [--floor]
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

import imagecodecs
import numpy as np
import pyarrow as pa
from playwright.sync_api import Page, sync_playwright
from running import endpoint, wait_until

from mcn.catalog.schema import Tile, crystal_table, tile_id, tile_table
from mcn.catalog.store import Catalog
from mcn.crystals import Classified, classified_crystals, segmented_crystals
from mcn.mask import Mask, masks_from_labels
from mcn.morphology.measures import measure
from mcn.synthetic.renderer import render_tile
from mcn.taxonomy import CALCITE, SHAPES

DIST: Final = Path(__file__).parents[1] / "serve/viewer/dist"
TILES, CRYSTALS_A_TILE = 5000, 40
WIDTH, HEIGHT, CRYSTALS = 8192, 6144, 3000
PIXEL_SIZE_UM: Final = 0.05
FLOORS: Final = {"first_drawing_s": 1.0, "frames_a_second": 30.0, "page_mb_compressed": 1.0}

_WHEN_DRAWN: Final = """
new MutationObserver((_, observer) => {
  if (!document.querySelector(".log svg .bar")) return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.drawnAt = performance.now(); }));
}).observe(document, { childList: true, subtree: true });
"""
_PAN: Final = """
([zoom, seconds]) => new Promise((give) => {
  const { viewport } = document.querySelector(".viewer").viewer;
  viewport.goHome(true);
  viewport.zoomTo(viewport.getHomeZoom() * zoom, null, true);
  const home = viewport.getCenter(true);
  const gaps = [];
  let began = null, last = null;
  const frame = (now) => {
    if (began === null) began = now; else gaps.push(now - last);
    last = now;
    const center = home.clone();
    const turn = ((now - began) / 1000) * 2.5;
    center.x += 0.06 / zoom * Math.sin(turn);
    center.y += 0.04 / zoom * Math.sin(1.7 * turn);
    viewport.panTo(center, true);
    if (now - began < seconds * 1000) requestAnimationFrame(frame);
    else {
      const frames_a_second = (1000 * gaps.length) / (last - began);
      give({ frames_a_second, longest_ms: Math.max(...gaps) });
    }
  };
  requestAnimationFrame(frame);
})
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--floor", action="store_true", help="exit 1 if a figure falls short")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tile = fill(folder)
        with (
            endpoint(folder, catalog=folder / "catalog") as running,
            sync_playwright() as playwright,
        ):
            url = running.url
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            report = {
                "tiles": TILES,
                "crystals_of_well": TILES * CRYSTALS_A_TILE,
                "first_drawing_s": first_drawing(page, url, options.runs),
                **panning(page, url, tile),
                "page_mb_compressed": page_size(),
                "browser": browser.version,
            }
            browser.close()
    print(json.dumps(report))
    short = [
        name
        for name, floor in FLOORS.items()
        if (report[name] < floor if name == "frames_a_second" else report[name] > floor)
    ]
    return 1 if options.floor and short else 0


def fill(folder: Path) -> str:
    """A catalogue of one well with many tiles, and another with one large tile; gives its id."""
    rendered = render_tile(0)
    masks = masks_from_labels(rendered.labels)
    height, width = rendered.image.shape
    catalog = Catalog.create(folder / "catalog")
    small = crystals_of(masks[:CRYSTALS_A_TILE], height, width, seed=0)
    for start in range(0, TILES, 1000):
        tiles = [
            tile(f"/core/{i}.tif", "Long-1", 1000 + 0.1 * i, width, height, small.num_rows)
            for i in range(start, start + 1000)
        ]
        commit(catalog, tiles, [small] * len(tiles))
    down, across = HEIGHT // height, WIDTH // width
    pixels = np.tile(rendered.image, (down, across))
    everywhere = [
        Mask(mask.x + width * column, mask.y + height * row, mask.pixels)
        for row in range(down)
        for column in range(across)
        for mask in masks
    ]
    chosen = np.linspace(0, len(everywhere) - 1, CRYSTALS).round().astype(int)
    large = crystals_of([everywhere[i] for i in chosen], *pixels.shape, seed=1)
    picture = folder / "large.png"
    picture.write_bytes(bytes(imagecodecs.png_encode(pixels, level=1)))
    one = tile(picture.as_uri(), "Large-1", 1200.0, pixels.shape[1], pixels.shape[0], CRYSTALS)
    commit(catalog, [one], [large])
    return one.tile_id


def crystals_of(masks: list[Mask], height: int, width: int, seed: int) -> pa.Table:
    """Measured crystals with random shapes."""
    measures = measure(masks, height, width, PIXEL_SIZE_UM)
    segmented = segmented_crystals(masks, measures, height, width)
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(len(SHAPES)), len(masks)).astype(np.float32)
    return classified_crystals(segmented, Classified(probabilities, probabilities.max(1)), CALCITE)


def tile(uri: str, well: str, depth_m: float, width: int, height: int, crystals: int) -> Tile:
    return Tile(
        tile_id=tile_id(uri),
        uri=uri,
        well=well,
        depth_m=depth_m,
        width=width,
        height=height,
        pixel_size_um=PIXEL_SIZE_UM,
        pixel_size_source="manifest",
        segmenter="known@000000000000",
        classifier="random@000000000000",
        scan_id="benchmark",
        n_crystals=crystals,
        crystal_area_fraction=0.5,
    )


def commit(catalog: Catalog, tiles: list[Tile], crystals: list[pa.Table]) -> None:
    rows = tile_table(tiles)
    catalog.commit(crystal_table(rows, crystals, catalog.depth_bin_m), rows)


def first_drawing(page: Page, url: str, runs: int) -> float:
    """Median of seconds from the start of a navigation until the log is painted."""
    page.add_init_script(_WHEN_DRAWN)
    seconds = []
    for _ in range(runs + 1):
        # Another document each time, so that it is a navigation.
        page.goto("about:blank")
        page.goto(f"{url}/#token=none")
        page.goto("about:blank")
        page.goto(f"{url}/#/log?well=Long-1")
        page.wait_for_function("() => window.drawnAt")
        seconds.append(page.evaluate("window.drawnAt") / 1000)
    print(f"drawn after {seconds} s", file=sys.stderr)
    return round(median(seconds[1:]), 3)


def panning(page: Page, url: str, tile: str) -> dict[str, Any]:
    """Frames a second while a tile is panned."""
    page.goto(f"{url}/#/tile?well=Large-1&tile={tile}")
    page.wait_for_selector(".scale-bar")
    page.wait_for_function(
        "(count) => document.querySelector('aside strong')?.textContent === count", arg="3,000"
    )
    loaded = "() => document.querySelector('.viewer').viewer.world.getItemAt(0).getFullyLoaded()"
    results: dict[str, Any] = {}
    for name, zoom in (("all", 1.0), ("tenth", 3.2)):
        page.evaluate(_PAN, [zoom, 0.5])  # fetches what the pan shows
        wait_until(lambda: bool(page.evaluate(loaded)), "the picture has come", 60)
        results[name] = page.evaluate(_PAN, [zoom, 4])
    page.evaluate("document.querySelector('canvas.outlines').style.visibility = 'hidden'")
    bare = page.evaluate(_PAN, [1.0, 4])
    return {
        "frames_a_second": round(min(each["frames_a_second"] for each in results.values()), 1),
        "longest_frame_ms": round(max(each["longest_ms"] for each in results.values()), 1),
        "frames_a_second_without_outlines": round(bare["frames_a_second"], 1),
    }


def page_size() -> float:
    """Megabytes of the whole page as a browser receives it with gzip."""
    files = [path for path in DIST.rglob("*") if path.suffix in (".html", ".js", ".css")]
    return round(sum(len(gzip.compress(path.read_bytes())) for path in files) / 1e6, 3)


if __name__ == "__main__":
    sys.exit(main())
