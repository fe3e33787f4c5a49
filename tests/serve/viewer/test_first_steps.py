"""From a well to a corrected crystal, in a browser, without a cluster."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from playwright.sync_api import expect

from mcn.catalog.corrected.rows import read_corrections
from mcn.catalog.store import Catalog

from ..browser import listening
from ..small_core import WELL, make_small_core
from .conftest import Visit


def test_from_a_well_to_a_corrected_crystal(visit: Visit, tmp_path: Path) -> None:
    app = make_small_core(tmp_path).client(name="first-steps").app
    assert isinstance(app, FastAPI)
    with listening(app) as address:
        visitor = visit(address, "any token: this endpoint asks for none")
        page = visitor.page
        page.get_by_role("link", name=WELL).click()
        page.locator(".log .bar").first.click()
        page.locator(".thumbnails a").first.click()
        expect(page.locator(".scale-bar")).to_contain_text("µm")
        page.keyboard.press(".")
        visitor.wait_for_naming()
        page.keyboard.press("4")
        expect(visitor.said()).to_have_text("1 named spherical.")
        page.keyboard.press("z")
        expect(visitor.said()).to_have_text("Undone.")
    catalog = Catalog.open(tmp_path / "catalog")
    rows = read_corrections(catalog).rows
    assert sorted(rows["operation"].to_pylist()) == ["shape", "undo"]
