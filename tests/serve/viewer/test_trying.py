"""A picture of one's own in the page, and `mcn view` for one person."""

from __future__ import annotations

import getpass
import json
import re
import signal
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile
from PIL import Image
from playwright.sync_api import expect

from ...waiting import DEADLINE_S, wait_until
from ..conftest import MCN
from .conftest import Served, Visit, Visitor

pytestmark = pytest.mark.long


def test_a_picture_is_analysed_shown_and_saved(
    anna: Visitor, served: Served, tile: Path, tmp_path: Path
) -> None:
    page = anna.page
    anna.look("try")
    page.get_by_label("Picture").set_input_files(tile)
    expect(page.locator(".scale-bar")).to_be_visible(timeout=120_000)
    count = page.locator("aside strong").first
    found = int(count.inner_text().replace(",", ""))
    assert found > 10
    page.keyboard.press("n")
    picture = page.locator(".viewer").bounding_box()
    assert picture is not None
    page.mouse.click(picture["x"] + picture["width"] / 2, picture["y"] + picture["height"] / 2)
    expect(page.get_by_role("button", name="Keep")).to_be_enabled()
    page.keyboard.press("Enter")
    expect(count).to_have_text(f"{found + 1:,}")
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON", exact=True).click()
    download.value.save_as(tmp_path / "tried.json")
    assert len(json.loads((tmp_path / "tried.json").read_text())["crystals"]) == found


@pytest.fixture(scope="module")
def large(tile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of nine megapixels; a request may have four."""
    part = tifffile.imread(tile)
    pixels = np.tile(part, (-(-3000 // part.shape[0]), -(-3000 // part.shape[1])))[:3000, :3000]
    path = tmp_path_factory.mktemp("large") / "mosaic.png"
    Image.fromarray(pixels).save(path, compress_level=1)
    return path


def test_a_large_picture_is_a_job_with_progress(anna: Visitor, large: Path, tmp_path: Path) -> None:
    page = anna.page
    anna.look("try")
    page.get_by_label("Picture").set_input_files(large)
    expect(page.get_by_role("status")).to_contain_text("3,000 × 3,000 pixels", timeout=120_000)
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"[1-9]\d* %"))
    expect(page.locator(".scale-bar")).to_be_visible(timeout=240_000)
    found = int(page.locator("aside strong").first.inner_text().replace(",", ""))
    assert found > 100
    expect(page.get_by_role("button", name="New crystal")).to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("button", name="GeoJSON").click()
    download.value.save_as(tmp_path / "mosaic.geojson")
    assert len(json.loads((tmp_path / "mosaic.geojson").read_text())["features"]) == found


def test_a_job_is_cancelled_on_the_endpoint_too(anna: Visitor, served: Served, large: Path) -> None:
    page = anna.page
    anna.look("try")
    with page.expect_response(lambda answer: answer.url.endswith("/v1/jobs")) as started:
        page.get_by_label("Picture").set_input_files(large)
    url = started.value.headers["location"]
    expect(page.get_by_role("status")).to_contain_text("pixels")
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as ended:
        page.get_by_role("button", name="Cancel").click()
    assert ended.value.status == 204
    expect(page.get_by_role("status")).to_have_count(0)
    with served.endpoint.client("anna") as client:
        assert client.get(url).json()["status"] == "cancelled"


def test_a_file_that_is_no_picture_is_refused_with_the_reason(
    anna: Visitor, tmp_path: Path
) -> None:
    (tmp_path / "notes.tif").write_text("not a picture")
    anna.look("try")
    anna.page.get_by_label("Picture").set_input_files(tmp_path / "notes.tif")
    expect(anna.alert()).to_contain_text("notes.tif")


def test_mcn_view_opens_a_catalogue_for_one_person(
    visit: Visit, scanned: Path, tmp_path: Path
) -> None:
    log = tmp_path / "view.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(MCN), "view", str(scanned / "catalog"), "--no-browser"], stdout=file, stderr=file
        )
    try:
        said = wait_until(
            lambda: re.search(r"ready at (\S+)/#token=(\S+)", log.read_text()),
            "it prints its address",
            process,
        )
        address, token = said.groups()
        assert address.startswith("http://127.0.0.1:")
        assert httpx.get(f"{address}/v1/wells", timeout=60).status_code == 401
        visitor = visit(address)
        visitor.page.goto(f"{address}/#token={token}")
        expect(visitor.page.get_by_role("heading", name="Wells")).to_be_visible()
        session = httpx.get(
            f"{address}/v1/session", headers={"Authorization": f"Bearer {token}"}, timeout=60
        ).json()
        assert session["name"] == re.sub(r"[^\w.@-]", "_", getpass.getuser())
        assert "correct" in session["scopes"]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0
