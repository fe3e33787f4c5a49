"""From a scanned catalogue to the first corrected crystal: clicks, seconds, pictures of the page.

Runs `mcn view` on a copy of the catalogue that `make demo` makes, opens what it prints in a
headless Chromium, and goes the two ways that a person finds: by the log (well, depth, tile,
crystal, name) and by the queue. Waits only for what is drawn, as a person does, who also needs
time to look. With `--pictures` it writes the pictures of the documentation. Prints one JSON object.

    python benchmarks/first_correction.py demo/catalog [--pictures docs]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from playwright.sync_api import Page, sync_playwright
from running import wait_until

SIZE = {"width": 1280, "height": 860}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(options.catalog, Path(folder, "catalog"))
        print(json.dumps(measure(copy, Path(folder, "log"), options.pictures)))


def measure(catalog: Path, log: Path, pictures: Path | None) -> dict[str, Any]:
    """Seconds until the page is there, and clicks, keys and seconds of both ways."""
    started = perf_counter()
    mcn = Path(sys.executable).with_name("mcn")
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(mcn), "view", str(catalog), "--no-browser"], stdout=file, stderr=file
        )
    try:
        ready = re.compile(r"ready at (\S+)")
        wait_until(
            lambda: bool(ready.search(log.read_text())) or process.poll() is not None, "it is ready"
        )
        found = ready.search(log.read_text())
        if found is None:
            raise RuntimeError(log.read_text()[-2000:])
        seconds = perf_counter() - started
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport=SIZE)
            page.goto(found[1])
            page.locator("table.wells").wait_for()
            report = {"seconds_until_the_page": round(seconds, 1)}
            report |= {"by_the_log": go(page, by_the_log), "by_the_queue": go(page, by_the_queue)}
            report["naming_a_minute"] = naming(page)
            if pictures is not None:
                take(page, pictures)
            browser.close()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(300)
    return report


def go(page: Page, way: Callable[[Page], dict[str, int]]) -> dict[str, Any]:
    """Walk a way from the list of wells, and count."""
    page.goto(page.url.partition("#")[0] + "#/wells")
    page.locator("table.wells").wait_for()
    started = perf_counter()
    counts = way(page)
    return {**counts, "seconds": round(perf_counter() - started, 2)}


def by_the_log(page: Page) -> dict[str, int]:
    page.locator("table.wells tbody th a").first.click()
    page.locator(".log .bar").first.click()
    page.locator(".thumbnails a").first.click()
    page.locator(".scale-bar").wait_for()
    clicks = 3
    # A person clicks on a crystal; a script looks for one.
    box = page.locator(".viewer").bounding_box()
    assert box is not None
    for share in (0.5, 0.42, 0.58, 0.34, 0.66):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + share * box["height"])
        clicks += 1
        if "crystal=" in page.url:
            break
        page.wait_for_timeout(400)  # two quick clicks are a zoom
    page.keyboard.press("2")
    page.locator(".said", has_text="named").wait_for()
    return {"clicks": clicks, "keys": 1}


def by_the_queue(page: Page) -> dict[str, int]:
    page.get_by_role("link", name="Correct", exact=True).click()
    page.locator(".in-place image").wait_for()
    page.keyboard.press("3")
    page.locator(".said", has_text="Named").wait_for()
    page.get_by_text("1 corrected").wait_for()
    return {"clicks": 1, "keys": 1}


def naming(page: Page) -> int:
    """Crystals a minute that the page can follow, if a person needs no time."""
    started = perf_counter()
    count = 20
    for number in range(count):
        page.locator(".in-place image").wait_for()
        page.keyboard.press("1234"[number % 4])
    page.get_by_text(f"{count + 1} corrected").wait_for()
    return round(60 * count / (perf_counter() - started))


def take(page: Page, folder: Path) -> None:
    """The pictures of README and docs/page.md."""
    address = page.url.partition("#")[0]
    page.goto(f"{address}#/wells")
    page.locator("table.wells").wait_for()
    wells = page.locator("table.wells tbody th a").all_inner_texts()
    page.locator("table.wells tbody th a").first.click()
    page.locator(".log .texture-bar").first.wait_for()
    page.locator(".log .bar").first.hover()
    page.wait_for_timeout(300)
    page.screenshot(path=folder / "page-log.png")
    page.goto(f"{address}#/log?" + "&".join(f"well={well}" for well in wells[:3]))
    page.locator(".well-title").nth(len(wells[:3]) - 1).wait_for()
    page.locator(".log .texture-bar").first.wait_for()
    page.screenshot(path=folder / "page-wells.png")
    page.goto(f"{address}#/log?well={wells[0]}")
    page.locator(".log .bar").first.click()
    page.locator(".thumbnails a").first.click()
    page.locator(".scale-bar").wait_for()
    box = page.locator(".viewer").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.keyboard.press(".")
    page.get_by_role("button", name="Whole tile").click()
    page.wait_for_timeout(1500)  # until the picture rests
    page.screenshot(path=folder / "page-tile.png")
    page.goto(f"{address}#/correct?well={wells[0]}")
    page.locator(".in-place image").wait_for()
    page.screenshot(path=folder / "page-queue.png")
    page.goto(f"{address}#/statistics?a={wells[0]}&b={wells[-1]}")
    page.locator(".curve").first.wait_for()
    page.screenshot(path=folder / "page-statistics.png")


if __name__ == "__main__":
    main()
