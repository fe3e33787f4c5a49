"""The page in a real browser on a running endpoint: wells, depth log, tile, statistics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import lasio
import pytest
from PIL import Image
from playwright.sync_api import Route, expect

from mcn.catalog.query import sql
from mcn.catalog.store import Catalog

from .conftest import HOSTILE, Served, Visit, Visitor

pytestmark = pytest.mark.long


def test_sign_in_by_token(visit: Visit, served: Served) -> None:
    visitor = visit(served.endpoint.url)
    visitor.sign_in("mcn_nonsense")
    expect(visitor.alert()).to_contain_text("the token is unknown")
    visitor.sign_in(served.endpoint.tokens["anna"])
    expect(visitor.page.get_by_role("heading", name="Wells")).to_be_visible()
    token = served.endpoint.tokens["anna"]
    assert visitor.page.evaluate("Object.values(sessionStorage)") == [token]
    assert visitor.page.evaluate("localStorage.length + document.cookie.length") == 0
    visitor.page.get_by_role("button", name="Sign out").click()
    expect(visitor.page.get_by_label("Token")).to_be_visible()
    assert visitor.page.evaluate("sessionStorage.length") == 0


def test_a_token_in_the_fragment_is_neither_shown_nor_kept_in_the_history(
    anna: Visitor, served: Served
) -> None:
    assert "token" not in anna.page.url
    anna.look("log", well=served.well)
    anna.page.go_back()
    assert "token" not in anna.page.url


def test_a_token_in_the_fragment_of_an_open_page_signs_in(anna: Visitor, served: Served) -> None:
    bert = served.endpoint.tokens["bert"]
    anna.page.evaluate(f"location.hash = 'token={bert}'")
    expect(anna.page.get_by_role("heading", name="Wells")).to_be_visible()
    assert "token" not in anna.page.url
    assert anna.page.evaluate("Object.values(sessionStorage)") == [bert]


def test_wells_are_listed_and_searched(anna: Visitor, served: Served) -> None:
    row = anna.page.get_by_role("row").filter(has_text=served.well)
    summary = sql(
        Catalog.open(served.catalog),
        "SELECT count(*) AS tiles, sum(n_crystals)::BIGINT AS crystals FROM tiles "
        f"WHERE well = '{served.well}'",
    ).to_pylist()[0]
    expect(row).to_contain_text(f"{summary['crystals']:,}")
    hostile = anna.page.get_by_role("row").filter(has_text=HOSTILE)
    expect(hostile).to_be_visible()
    anna.page.get_by_label("Search").fill(served.well.lower())
    expect(hostile).to_be_hidden()
    expect(anna.page.get_by_role("status")).to_contain_text("1 of 2 wells")
    anna.page.reload()
    expect(anna.page.get_by_label("Search")).to_have_value(served.well.lower())


def test_wells_with_coordinates_are_on_a_map(anna: Visitor) -> None:
    def answer(route: Route) -> None:
        wells = route.fetch().json()["wells"]
        for number, well in enumerate(wells):
            well |= {"latitude": 24.5 + number, "longitude": 54.2}
        route.fulfill(json={"wells": wells})

    anna.page.route("**/v1/wells", answer)
    anna.page.reload()
    marks = anna.page.locator(".map .well-mark")
    expect(marks).to_have_count(2)
    below, above = (marks.nth(i).bounding_box() for i in (0, 1))
    assert below is not None
    assert above is not None
    assert below["y"] > above["y"], "north is up"


def test_a_depth_log_zooms_hovers_and_is_a_link(anna: Visitor, served: Served) -> None:
    anna.page.get_by_role("link", name=served.well).click()
    drawing = anna.page.locator(".log svg")
    expect(drawing).to_have_attribute("aria-label", re.compile(f"Depth log of {served.well}"))
    ticks = [float(text) for text in anna.page.locator(".axis g text").all_text_contents()]
    places = [
        box["y"] for each in anna.page.locator(".axis g text").all() if (box := each.bounding_box())
    ]
    assert ticks == sorted(ticks)
    assert places == sorted(places), "depth is downwards"
    anna.page.locator(".log .bar").first.hover()
    expect(anna.page.locator(".values")).to_contain_text("Crystal area")
    anna.page.keyboard.press("+")
    expect(anna.page).to_have_url(re.compile("depth="))
    address = anna.page.url
    other = anna.page.context.new_page()
    other.goto(address)
    expect(other.get_by_label("Token")).to_be_visible()  # a link shares a state, not a token
    anna.page.keyboard.press("0")
    expect(anna.page).not_to_have_url(re.compile("depth="))


def test_a_shared_zoomed_log_has_the_same_intervals(anna: Visitor, served: Served) -> None:
    anna.look("log", well=served.well)
    bars = anna.page.locator(".log .bar")
    expect(bars.first).to_be_visible()
    whole = bars.count()
    for _ in range(3):
        anna.page.keyboard.press("+")
    expect(bars).not_to_have_count(whole)
    expect(anna.page.locator("[aria-busy=true]")).to_have_count(0)
    count = bars.count()
    anna.page.reload()
    expect(bars).to_have_count(count)


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        ("1300:1200", "smaller depth first"),
        ("1250:1250", "reversed or empty"),
        ("-1e300:1e300", "not a range in metres"),
        ("1200ft:4000ft", "not a range in metres"),
        ("90000:90001", "no tiles there"),
    ],
)
def test_depths_that_cannot_be_drawn_are_said(
    anna: Visitor, served: Served, depth: str, message: str
) -> None:
    anna.look("log", well=served.well, depth=depth)
    expect(anna.alert()).to_contain_text(message)
    anna.page.get_by_role("link", name="The whole log").click()
    expect(anna.page.locator(".log .bar").first).to_be_visible()


def test_logs_are_saved_as_files(anna: Visitor, served: Served, tmp_path: Path) -> None:
    anna.look("log", well=served.well)
    files = {}
    for kind in ("PNG", "SVG", "CSV", "LAS"):
        with anna.page.expect_download() as download:
            anna.page.get_by_role("button", name=kind, exact=True).click()
        files[kind] = tmp_path / kind
        download.value.save_as(files[kind])
        assert download.value.suggested_filename.endswith(kind.lower())
    width, height = Image.open(files["PNG"]).size
    assert width > 1000
    assert height > 1000
    drawing = ElementTree.parse(files["SVG"]).getroot()
    fills = {each.get("fill") for each in drawing.iter("{http://www.w3.org/2000/svg}rect")}
    assert "rgb(230, 159, 0)" in fills, "it has its colours without the page"
    texts = {each.text for each in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"rhombic", "polyhedral", "amorphous", "spherical"} <= texts, "with their key"
    assert len(files["CSV"].read_text().splitlines()) > 1
    assert served.well in str(lasio.read(files["LAS"]).well["WELL"].value)


def test_two_wells_are_flattened_on_a_top_that_both_have(anna: Visitor, served: Served) -> None:
    first = 1210.0

    def answer(route: Route) -> None:
        depth = first if served.well in route.request.url else 1195.0
        tops = [{"formation": "Arab", "depth_m": depth}, {"formation": f"F{depth}", "depth_m": 9}]
        route.fulfill(json=route.fetch().json() | {"tops": tops})

    anna.page.route(re.compile(r"/v1/wells/[^/?]+$"), answer)
    anna.look("log", well=[served.well, HOSTILE])
    choice = anna.page.get_by_label("Flatten on")
    expect(choice.locator("option")).to_have_text(["nothing", "Arab"])
    choice.select_option("Arab")
    expect(anna.page).to_have_url(re.compile("flat=Arab"))
    lines = anna.page.locator(".tops line")
    heights = {round(float(lines.nth(i).get_attribute("y1") or "nan")) for i in (0, 2)}
    assert len(heights) == 1, "one line through both wells"


def test_from_a_depth_to_its_tile(anna: Visitor, served: Served) -> None:
    anna.look("log", well=served.well)
    anna.page.locator(".log .bar").first.click()
    expect(anna.page.locator(".thumbnails img").first).to_be_visible()
    anna.page.locator(".thumbnails a").first.click()
    expect(anna.page.locator(".scale-bar")).to_contain_text("m")
    expect(anna.page.locator("aside strong").first).not_to_have_text("0")


def test_outlines_follow_the_filters_and_the_address(anna: Visitor, served: Served) -> None:
    anna.look("tile", well=served.well, tile=served.tiles[0])
    shown = anna.page.locator("aside strong").first
    expect(shown).to_be_visible()
    everything = int(shown.inner_text().replace(",", ""))
    painted = (
        "document.querySelector('canvas.outlines').getContext('2d')"
        ".getImageData(0, 0, 2000, 1400).data.filter((v, i) => i % 4 === 3 && v).length"
    )
    anna.page.wait_for_function(f"() => {painted} > 1000")
    box = anna.page.get_by_role("group", name="Shapes").get_by_role("checkbox").first
    box.uncheck()
    expect(anna.page).to_have_url(re.compile("hide="))
    fewer = int(shown.inner_text().replace(",", ""))
    assert fewer < everything
    anna.page.get_by_label("Confidence, least").fill("0.9")
    expect(shown).not_to_have_text(f"{fewer:,}")
    anna.page.reload()
    expect(box).not_to_be_checked()
    assert int(shown.inner_text().replace(",", "")) < fewer


def test_another_tile_shows_its_own_crystals(anna: Visitor, served: Served) -> None:
    first, second = served.tiles[:2]
    anna.look("tile", well=served.well, tile=first)
    expect(anna.page.locator(".scale-bar")).to_be_visible()
    anna.page.keyboard.press(".")
    expect(anna.page).to_have_url(re.compile(f"crystal={first}"))
    anna.look("tile", well=served.well, tile=second)
    expect(anna.page.locator(".scale-bar")).to_be_visible()
    expect(anna.page.get_by_text("Loading")).to_have_count(0)
    anna.page.keyboard.press(".")
    expect(anna.page).to_have_url(re.compile(f"crystal={second}"))


def test_a_crystal_shows_its_measures(anna: Visitor, served: Served) -> None:
    anna.look("tile", well=served.well, tile=served.tiles[0])
    expect(anna.page.locator(".scale-bar")).to_be_visible()
    anna.page.keyboard.press(".")
    expect(anna.page).to_have_url(re.compile("crystal="))
    panel = anna.page.get_by_role("region", name="Chosen crystals")
    expect(panel).to_contain_text("Equivalent diameter")
    expect(panel.get_by_role("listitem").first).to_contain_text("%")
    identity = re.search("crystal=([^&]+)", anna.page.url)
    assert identity
    row = sql(
        Catalog.open(served.catalog),
        f"SELECT circularity FROM crystals WHERE crystal_id = '{identity[1]}'",
    ).to_pylist()[0]
    expect(panel).to_contain_text(f"{row['circularity']:.2f}".rstrip("0"))
    anna.page.keyboard.press("Escape")
    expect(panel).to_be_hidden()


def test_evidence_and_similar_crystals(anna: Visitor, served: Served) -> None:
    anna.look("tile", well=served.well, tile=served.tiles[0])
    expect(anna.page.locator(".scale-bar")).to_be_visible()
    anna.page.keyboard.press(".")
    expect(anna.page).to_have_url(re.compile("crystal="))
    before = anna.page.url
    anna.page.get_by_text("Evidence and similar crystals").click()
    heat = anna.page.get_by_role("img", name="Heat map of the evidence")
    expect(heat).to_be_visible()
    assert heat.evaluate("async (image) => (await image.decode(), image.naturalWidth)") == 256
    similar = anna.page.get_by_role("list", name="Similar crystals").get_by_role("button")
    expect(similar).to_have_count(8)
    expect(similar.first.locator("img")).to_be_visible()
    similar.first.focus()
    anna.page.keyboard.press("Enter")
    expect(anna.page).not_to_have_url(before)
    expect(anna.page).to_have_url(re.compile("crystal="))


def test_textures_and_zones_lie_beside_the_log(anna: Visitor, served: Served) -> None:
    anna.look("log", well=served.well)
    bars = anna.page.locator(".log .texture-bar")
    expect(bars.first).to_be_visible()
    with served.endpoint.client("anna") as client:
        path = f"/v1/wells/{quote(served.well)}"
        textures = client.get(f"{path}/textures?corrected=true").json()["textures"]
        zones = client.get(f"{path}/log?zones=true&corrected=true").json()
    schemes = list(dict.fromkeys(each["scheme"] for each in textures))
    first = [each for each in textures if each["scheme"] == schemes[0]]
    expect(bars).to_have_count(len(first))
    expect(anna.page.locator(".log .zone")).to_have_count(len(zones))
    bars.first.hover(force=True)
    expect(anna.page.locator(".values")).to_contain_text(
        first[0]["texture"].replace("_", " "), ignore_case=True
    )
    expect(anna.page.locator(".values")).to_contain_text("Zone")
    anna.page.get_by_label("Textures by").select_option(schemes[1])
    expect(anna.page).to_have_url(re.compile(f"scheme={schemes[1]}"))
    expect(bars).to_have_count(len(textures) // len(schemes))


def test_a_click_chooses_the_crystal_below_it(anna: Visitor, served: Served) -> None:
    row = sql(
        Catalog.open(served.catalog),
        "SELECT crystal_id, centroid_x, centroid_y FROM crystals "
        f"WHERE tile_id = '{served.tiles[0]}' AND solidity > 0.95 ORDER BY area_px DESC LIMIT 1",
    ).to_pylist()[0]
    anna.look("tile", well=served.well, tile=served.tiles[0])
    expect(anna.page.locator(".scale-bar")).to_be_visible()
    anna.click_pixel(row["centroid_x"], row["centroid_y"])
    expect(anna.page).to_have_url(re.compile(f"crystal={row['crystal_id']}"))


def test_a_tile_is_saved_for_other_programs(anna: Visitor, served: Served, tmp_path: Path) -> None:
    anna.look("tile", well=served.well, tile=served.tiles[0])
    with anna.page.expect_download() as download:
        anna.page.get_by_role("button", name="GeoJSON").click()
    download.value.save_as(tmp_path / "tile.geojson")
    collection = json.loads((tmp_path / "tile.geojson").read_text())
    count = sql(
        Catalog.open(served.catalog),
        f"SELECT count(*) AS n FROM crystals WHERE tile_id = '{served.tiles[0]}'",
        corrected=True,
    ).to_pylist()[0]["n"]
    assert len(collection["features"]) == count


def test_statistics_of_two_selections(anna: Visitor, served: Served) -> None:
    anna.look("statistics", a=served.well, b=HOSTILE)
    table = anna.page.get_by_role("table")
    expect(table.get_by_role("row").filter(has_text="Tiles")).to_contain_text("3")
    expect(anna.page.locator(".curve")).to_have_count(2)
    expect(anna.page.locator(".mean-mark")).to_have_count(2)
    median = sql(
        Catalog.open(served.catalog),
        "SELECT quantile_cont(equivalent_diameter_um, 0.5) AS p50 FROM crystals "
        f"WHERE well = '{served.well}'",
    ).to_pylist()[0]["p50"]
    row = table.get_by_role("row").filter(has_text="P50 of size").get_by_role("cell").first
    assert float(row.inner_text().split()[0]) == pytest.approx(median, rel=0.03)


def test_names_of_others_are_text(anna: Visitor, served: Served) -> None:
    anna.look("log", well=HOSTILE, tiles="failed")
    expect(anna.page.get_by_role("heading", name=HOSTILE, exact=True)).to_be_visible()
    expect(anna.page.locator(".failed")).to_contain_text(f"not a picture {HOSTILE}")
    expect(anna.page.locator(".log .well-title")).to_have_text(HOSTILE)
    assert anna.page.locator("img[src=x]").count() == 0
