"""What the page says when something is missing, and that everybody can use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from mcn.catalog.store import Catalog
from mcn.micrograph import Limits
from serve.deployments.catalog_reader import CatalogReader
from serve.http.application import create_app
from serve.http.auth import AccessControl
from serve.settings import Settings
from serve.tokens import digest_of

from ..browser import listening
from ..local import local_services
from .conftest import BUILT, Served, Visit, Visitor

pytestmark = pytest.mark.long

AXE = BUILT.parents[1] / "node_modules/axe-core/axe.min.js"
TOKEN = "a token of this test"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[str]:
    """An endpoint of an empty catalogue, without models."""
    Catalog.create(tmp_path / "catalog")
    settings = Settings(token_sha256=digest_of(TOKEN))
    reader = CatalogReader(str(tmp_path / "catalog"), 0.0, Limits())
    services = local_services("test-empty-page", reader=reader, settings=settings)
    with listening(create_app(services, AccessControl(settings))) as address:
        yield address


def test_an_empty_catalogue_says_what_to_do(visit: Visit, empty: str) -> None:
    visitor = visit(empty)
    visitor.sign_in(TOKEN)
    expect(visitor.page.get_by_role("heading", name="No wells yet")).to_be_visible()
    expect(visitor.page.locator("main")).to_contain_text("mcn scan")


def test_an_endpoint_that_is_gone(visit: Visit, tmp_path: Path) -> None:
    Catalog.create(tmp_path / "catalog")
    settings = Settings(token_sha256=digest_of(TOKEN))
    reader = CatalogReader(str(tmp_path / "catalog"), 0.0, Limits())
    services = local_services("test-gone-page", reader=reader, settings=settings)
    with listening(create_app(services, AccessControl(settings))) as address:
        visitor = visit(address)
        visitor.sign_in(TOKEN)
        expect(visitor.page.get_by_role("heading", name="No wells yet")).to_be_visible()
    visitor.look("log", well="A")
    expect(visitor.alert()).to_contain_text("The endpoint does not answer")
    expect(visitor.page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_token_that_expires_in_the_middle(anna: Visitor, served: Served) -> None:
    anna.look("log", well=served.well)
    expect(anna.page.locator(".log svg")).to_be_visible()
    problem = {"status": 401, "detail": "the token has expired; ask for a new one"}
    anna.page.route("**/v1/**", lambda route: route.fulfill(status=401, json=problem))
    anna.look("wells")
    expect(anna.alert()).to_contain_text("the token has expired")
    expect(anna.page.get_by_label("Token")).to_be_visible()


@pytest.mark.parametrize(
    ("view", "parameters", "said"),
    [
        ("log", {"well": "Nowhere-9"}, "no well 'Nowhere-9'"),
        ("tile", {"tile": "0" * 32}, "no tile"),
        ("tile", {"tile": "nonsense"}, "tile_id"),
        ("nonsense", {}, "no view “nonsense”"),
        ("constructor", {}, "no view “constructor”"),
    ],
)
def test_an_address_that_leads_nowhere(
    view: str, parameters: dict[str, str], said: str, anna: Visitor
) -> None:
    anna.look(view, **parameters)
    expect(anna.alert()).to_contain_text(said)


def test_a_tile_whose_object_is_gone_still_has_its_crystals(anna: Visitor, served: Served) -> None:
    anna.look("tile", tile=served.gone)
    expect(anna.alert()).to_contain_text("no longer there")
    expect(anna.page.locator("aside strong").first).to_have_text("2")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(scheme: str, visit: Visit, served: Served) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed; run: make setup")
    token = served.endpoint.tokens["anna"]
    visitor = visit(served.endpoint.url, token, color_scheme=scheme, bypass_csp=True)
    well, tile = served.well, served.tiles[0]
    for view, parameters, ready in (
        ("wells", {}, "table"),
        ("log", {"well": well}, ".log .texture-bar"),
        ("tile", {"well": well, "tile": tile}, ".scale-bar"),
        ("correct", {"well": well}, ".in-place"),
        ("statistics", {"a": well}, ".curve"),
        ("models", {}, "dl"),
        ("try", {}, ".drop"),
    ):
        visitor.look(view, **parameters)
        visitor.page.locator(ready).first.wait_for()
        if view == "tile":
            visitor.page.keyboard.press(".")
            visitor.page.get_by_text("Evidence and similar crystals").click()
            visitor.page.get_by_role("list", name="Similar crystals").wait_for()
        visitor.page.evaluate(AXE.read_text("utf-8"))
        violations = visitor.page.evaluate("axe.run()")["violations"]
        serious = [
            (each["id"], each["nodes"][0]["html"])
            for each in violations
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == [], view
