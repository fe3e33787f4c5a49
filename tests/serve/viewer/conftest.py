"""A browser that looks at a running endpoint of a scanned core, as people do."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from mcn.catalog.query import sql
from mcn.catalog.schema import Tile, tile_id, tile_table
from mcn.catalog.store import Catalog
from serve.tokens import add_token

from ...fakes import catalog_rows, crystal_row
from ..browser import chromium
from ..conftest import Endpoint, serving

BUILT = Path(__file__).resolve().parents[3] / "serve/viewer/dist/index.html"
HOSTILE = "<img src=x onerror=alert(1)>"
"""A well, a file and a note by somebody who wishes us ill."""

SIZE = {"width": 1280, "height": 860}

expect.set_options(timeout=60_000)  # A busy machine draws late.


@dataclass(frozen=True)
class Served:
    """A running endpoint and what its catalogue has."""

    endpoint: Endpoint
    catalog: Path
    well: str
    tiles: list[str]
    """Tiles of the scanned well, from above."""
    gone: str
    """A tile whose object is no longer there."""


@dataclass(eq=False)
class Visitor:
    """A person with a browser tab, and all that went wrong in it."""

    page: Page
    address: str
    hosts: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(60_000)
        self.page.on("request", lambda request: self._note_host(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        self.page.on("console", lambda message: self._note(message.type, message.text))

    def _note_host(self, url: str) -> None:
        if urlsplit(url).scheme not in ("blob", "data", "about"):
            self.hosts.add(urlsplit(url).netloc)

    def _note(self, kind: str, text: str) -> None:
        # A browser reports each answer above 399 itself; the page shows those.
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.faults.append(text)

    def look(self, view: str, **parameters: str | list[str]) -> None:
        """Go to a view of the page."""
        search = urlencode(parameters, doseq=True, quote_via=quote)
        self.page.goto(f"{self.address}/#/{view}" + (f"?{search}" if search else ""))

    def sign_in(self, token: str) -> None:
        """Sign in by the form."""
        self.page.goto(self.address)
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()

    def said(self) -> Locator:
        """What the page says after a correction."""
        return self.page.locator(".said")

    def wait_for_naming(self) -> None:
        """Wait until the page offers to name the chosen crystals; keys before that do nothing."""
        expect(self.page.get_by_role("group", name="Name the shape")).to_be_visible()

    def click_pixel(self, x: float, y: float, *modifiers: str) -> None:
        """Click a pixel of the picture, as a person does, with keys held down."""
        at = self.page.evaluate(
            """([x, y]) => {
              const { viewer } = document.querySelector(".viewer");
              const point = viewer.viewport.getCenter(true).clone();
              [point.x, point.y] = [x, y];
              const at = viewer.world.getItemAt(0).imageToWindowCoordinates(point);
              return [at.x, at.y];
            }""",
            [x, y],
        )
        for key in modifiers:
            self.page.keyboard.down(key)
        self.page.mouse.click(*at)
        for key in modifiers:
            self.page.keyboard.up(key)

    def alert(self) -> Locator:
        """The first message of trouble."""
        return self.page.get_by_role("alert").first


Visit = Callable[..., Visitor]


# Playwright keeps an event loop in this thread, in which other tests' asyncio.run would fail.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skips where it, or the page, is missing."""
    if not BUILT.exists():
        pytest.skip("the page is not built; run: make page")
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def filled(scanned: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the scanned catalogue with hostile names, a failed tile and one that is gone."""
    folder = Path(shutil.copytree(scanned / "catalog", tmp_path_factory.mktemp("page") / "catalog"))
    catalog = Catalog.open(folder)
    plain: dict[str, Any] = {
        "width": 64, "height": 48, "pixel_size_um": 0.1, "pixel_size_source": "manifest",
        "crystal_area_fraction": 0.5, "segmenter": "compact@0123456789ab",
        "classifier": "nsr@0123456789ab", "scan_id": "page",
    }  # fmt: skip

    def tile(name: str, well: str, **facts: Any) -> Tile:
        uri = f"file:///nowhere/{name}.tif"
        return Tile(tile_id=tile_id(uri), uri=uri, well=well, depth_m=1200.0, **(plain | facts))

    gone = tile(HOSTILE, HOSTILE)
    failed = tile(f"failed {HOSTILE}", HOSTILE, status="failed", error=f"not a picture {HOSTILE}")
    pairs = [
        (dataclasses.replace(gone, n_crystals=2), [crystal_row(), crystal_row(bbox_x=20)]),
        (dataclasses.replace(failed, crystal_area_fraction=None), []),
    ]
    tiles = tile_table([each for each, _ in pairs])
    catalog.commit(catalog_rows(pairs, catalog.depth_bin_m), tiles)
    return folder, gone.tile_id


@pytest.fixture(scope="session")
def served(filled: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An endpoint of that catalogue, with a token of each kind of person."""
    catalog, gone = filled
    folder = tmp_path_factory.mktemp("served")
    file = folder / "tokens.json"
    scopes: dict[str, list[str]] = {
        "anna": ["read", "analyze", "correct"],
        "bert": ["read", "analyze", "correct"],
        "reader": ["read"],
    }
    tokens = {name: add_token(file, name, of) for name, of in scopes.items()}
    config = folder / "serve.toml"
    config.write_text(
        "requests_a_minute = 100000\nmax_megapixels = 4\n[segmenters]\nleast = 1\nmost = 1\n"
    )
    rows = sql(
        Catalog.open(catalog), "SELECT tile_id, well FROM tiles WHERE width > 64 ORDER BY depth_m"
    ).to_pylist()
    with serving(
        folder, "--catalog", str(catalog), "--tokens", str(file), "--config", str(config),
        tokens=tokens,
    ) as endpoint:  # fmt: skip
        yield Served(endpoint, catalog, rows[0]["well"], [row["tile_id"] for row in rows], gone)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens a tab at an address, signed in with a token if one is given.

    Afterwards, no tab may have had an error, run a script of others, or left its origin.
    """
    visitors: list[Visitor] = []

    def open_tab(address: str, token: str | None = None, **options: Any) -> Visitor:
        context = browser.new_context(viewport=SIZE, accept_downloads=True, **options)
        visitor = Visitor(context.new_page(), address)
        visitors.append(visitor)
        if token is not None:
            visitor.page.goto(f"{address}/#token={token}")
            visitor.page.get_by_role("heading", name="Wells").or_(visitor.alert()).first.wait_for()
        return visitor

    yield open_tab
    for visitor in visitors:
        visitor.page.context.close()
        assert visitor.faults == []
        assert visitor.hosts <= {urlsplit(visitor.address).netloc}


@pytest.fixture
def anna(visit: Visit, served: Served) -> Visitor:
    """A person who may look, analyse and correct."""
    return visit(served.endpoint.url, served.endpoint.tokens["anna"])
