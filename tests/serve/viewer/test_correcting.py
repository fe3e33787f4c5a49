"""Corrections in a real browser: naming by keys, undo, drawing, two people, the queue."""

from __future__ import annotations

import itertools
import re

import httpx
import pytest
from playwright.sync_api import expect

from mcn.catalog.correcting.merging import are_neighbours
from mcn.catalog.query import sql
from mcn.catalog.store import Catalog

from ...waiting import wait_until
from .conftest import HOSTILE, Served, Visit, Visitor

pytestmark = pytest.mark.long


def corrections(served: Served, **query: str) -> list[dict[str, object]]:
    """Rows of the table `corrections`, newest first."""
    with served.endpoint.client("anna") as client:
        rows: list[dict[str, object]] = client.get("/v1/corrections", params=query).json()[
            "corrections"
        ]
    return rows


def open_crystal(visitor: Visitor, served: Served, number: int, tile: int = 0) -> str:
    """Choose the crystal of a tile with this number by keys; gives its id."""
    visitor.look("tile", well=served.well, tile=served.tiles[tile])
    expect(visitor.page.locator(".scale-bar")).to_be_visible()
    for _ in range(number + 1):
        visitor.page.keyboard.press(".")
    expect(visitor.page).to_have_url(re.compile("crystal="))
    visitor.wait_for_naming()
    found = re.search("crystal=([^&]+)", visitor.page.url)
    assert found
    return found[1]


def test_a_key_names_a_crystal_and_another_undoes_it(anna: Visitor, served: Served) -> None:
    crystal = open_crystal(anna, served, 0)
    title = anna.page.get_by_role("region", name="Chosen crystals").get_by_role("heading")
    before = title.inner_text().strip()
    key = "4" if before != "spherical" else "1"
    anna.page.keyboard.press(key)
    expect(anna.said()).to_contain_text("named")
    expect(title).not_to_have_text(before)
    row = corrections(served, crystal_id=crystal)[0]
    assert (row["corrected_by"], row["was_shape"]) == ("anna", before)
    anna.page.reload()
    expect(title).not_to_have_text(before)
    expect(anna.page.get_by_role("list", name="Corrections of this crystal")).to_contain_text(
        "anna"
    )
    anna.page.keyboard.press(key)
    expect(anna.said()).to_contain_text("named")
    anna.page.keyboard.press("z")
    expect(anna.said()).to_contain_text("Undone")
    assert {row["operation"] for row in corrections(served, crystal_id=crystal)} == {
        "shape",
        "undo",
    }


def test_the_models_row_is_not_overwritten(anna: Visitor, served: Served) -> None:
    crystal = open_crystal(anna, served, 1)
    anna.page.keyboard.press("d")
    expect(anna.said()).to_contain_text("Deleted")
    path = f"/v1/tiles/{served.tiles[0]}/crystals"
    with served.endpoint.client("anna") as client:
        for corrected, there in (("true", False), ("false", True)):
            rows = client.get(path, params={"corrected": corrected}).json()["crystals"]
            assert (crystal in {row["crystal_id"] for row in rows}) is there


def test_two_clicked_crystals_are_merged_and_split_again(anna: Visitor, served: Served) -> None:
    large = sql(
        Catalog.open(served.catalog),
        "SELECT crystal_id, centroid_x, centroid_y, bbox_x, bbox_y, bbox_w, bbox_h FROM crystals "
        f"WHERE tile_id = '{served.tiles[2]}' AND solidity > 0.93 ORDER BY area_px DESC LIMIT 60",
    ).to_pylist()
    first, second = next(pair for pair in itertools.combinations(large, 2) if are_neighbours(pair))
    places = [(each["centroid_x"], each["centroid_y"]) for each in (first, second)]
    anna.look("tile", well=served.well, tile=served.tiles[2])
    expect(anna.page.locator(".scale-bar")).to_be_visible()
    anna.click_pixel(*places[0])
    expect(anna.page).to_have_url(re.compile(f"crystal={first['crystal_id']}$"))
    anna.page.wait_for_timeout(500)  # two quick clicks are a zoom
    anna.click_pixel(*places[1], "Shift")
    expect(anna.page.get_by_role("heading", name="2 crystals")).to_be_visible()
    anna.page.keyboard.press("m")
    expect(anna.said()).to_contain_text("Merged")
    with served.endpoint.client("anna") as client:
        path = f"/v1/tiles/{served.tiles[2]}/crystals"
        rows = client.get(path, params={"corrected": "true"}).json()["crystals"]
        gone = {first["crystal_id"], second["crystal_id"]}
        (merged,) = (row for row in rows if row["corrected_by"] and row["crystal_id"] not in gone)
        assert not gone & {row["crystal_id"] for row in rows}
    expect(anna.page).to_have_url(re.compile(f"crystal={merged['crystal_id']}"))
    anna.page.keyboard.press("x")
    for place in places:
        anna.page.wait_for_timeout(500)
        anna.click_pixel(*place)
    expect(anna.page.get_by_role("button", name="Keep")).to_be_enabled()
    anna.page.keyboard.press("Enter")
    expect(anna.said()).to_contain_text("Crystal split")
    operations = [row["operation"] for row in corrections(served, tile_id=served.tiles[2])]
    assert {"merge", "split"} <= set(operations)


def test_a_crystal_is_added_and_another_redrawn(anna: Visitor, served: Served) -> None:
    page = anna.page
    open_crystal(anna, served, 2, tile=1)
    shown = page.locator("aside p strong").first
    count = int(shown.inner_text().replace(",", ""))
    page.keyboard.press("n")
    picture = page.locator(".viewer").bounding_box()
    assert picture is not None
    page.mouse.click(picture["x"] + picture["width"] / 2, picture["y"] + picture["height"] / 2)
    keep = page.get_by_role("button", name="Keep")
    expect(keep).to_be_enabled()
    page.keyboard.press("Enter")
    expect(anna.said()).to_contain_text("added")
    expect(shown).to_have_text(f"{count + 1:,}")
    page.keyboard.press("z")
    expect(anna.said()).to_contain_text("Undone")
    expect(shown).to_have_text(f"{count:,}")
    crystal = open_crystal(anna, served, 2, tile=1)
    page.keyboard.press("r")
    page.mouse.click(picture["x"] + picture["width"] / 2, picture["y"] + picture["height"] / 2)
    expect(keep).to_be_enabled()
    page.keyboard.press("Enter")
    expect(anna.said()).to_contain_text("Outline replaced")
    assert corrections(served, crystal_id=crystal)[0]["operation"] == "redraw"


def test_a_note_is_stored_and_shown_as_text(anna: Visitor, served: Served) -> None:
    crystal = open_crystal(anna, served, 4)
    anna.page.get_by_label("Note").fill(f"overgrown {HOSTILE}")
    anna.page.get_by_label("Note").blur()
    anna.page.keyboard.press("2")
    expect(anna.said()).to_contain_text("named")
    assert corrections(served, crystal_id=crystal)[0]["note"] == f"overgrown {HOSTILE}"
    history = anna.page.get_by_role("list", name="Corrections of this crystal")
    expect(history).to_contain_text(HOSTILE)


def test_two_people_correct_one_crystal_at_once(
    anna: Visitor, visit: Visit, served: Served
) -> None:
    bert = visit(served.endpoint.url, served.endpoint.tokens["bert"])
    crystal = open_crystal(anna, served, 6)
    assert open_crystal(bert, served, 6) == crystal
    anna.page.keyboard.press("3")
    expect(anna.said()).to_contain_text("named amorphous")
    bert.page.keyboard.press("4")
    expect(bert.said()).to_contain_text("anna also corrected this crystal")
    expect(bert.said()).to_contain_text("yours is later and counts")
    rows = corrections(served, crystal_id=crystal)
    assert [row["corrected_by"] for row in rows] == ["bert", "anna"]
    assert [row["in_effect"] for row in rows] == [True, True], "neither is undone"
    with served.endpoint.client("anna") as client:
        now = client.get(f"/v1/crystals/{crystal}").json()["crystal"]
    assert (now["shape"], now["corrected_by"]) == ("spherical", "bert"), "the later counts"


def test_the_queue_is_named_with_one_key_each(anna: Visitor, served: Served) -> None:
    before = len(corrections(served, well=served.well, limit="1000"))
    anna.look("correct", well=served.well)
    expect(anna.page.locator(".in-place image")).to_be_visible()
    for number in range(10):
        anna.page.keyboard.press("1234"[number % 4])
    expect(anna.page.get_by_text("10 corrected")).to_be_visible()
    anna.page.keyboard.press("z")
    expect(anna.said()).to_have_text("Undone.")
    expect(anna.page.get_by_text("; 9 corrected")).to_be_visible()
    rows = corrections(served, well=served.well, limit="1000")
    assert len(rows) == before + 11
    anna.page.reload()
    first = anna.page.locator(".in-place").first
    expect(first).to_be_visible()


def test_enter_after_a_click_confirms_and_a_held_key_names_one(
    anna: Visitor, served: Served
) -> None:
    page = anna.page
    before = len(corrections(served, well=served.well, limit="1000"))
    anna.look("correct", well=served.well)
    expect(page.locator(".in-place image")).to_be_visible()
    page.get_by_role("group", name="Name the shape").get_by_role("button").last.click()
    expect(page.get_by_text("; 1 corrected")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_text("; 2 corrected")).to_be_visible()
    held = "dispatchEvent(new KeyboardEvent('keydown', {key: '2', repeat: true, bubbles: true}))"
    page.evaluate(f"for (let n = 0; n < 5; n++) document.body.{held}")
    expect(page.get_by_text("; 2 corrected")).to_be_visible()
    page.keyboard.press("2")
    expect(page.get_by_text("; 3 corrected")).to_be_visible()
    wait_until(
        lambda: len(corrections(served, well=served.well, limit="1000")) == before + 3,
        "the corrections are saved",
    )
    confirmed = corrections(served, well=served.well)[1]
    assert confirmed["shape"] == confirmed["was_shape"]


def test_names_in_quick_succession_are_no_conflict_with_oneself(
    anna: Visitor, served: Served
) -> None:
    crystal = open_crystal(anna, served, 12)
    anna.page.keyboard.press("1")
    anna.page.keyboard.press("2")
    expect(anna.said()).to_have_text("1 named polyhedral.")
    wait_until(lambda: len(corrections(served, crystal_id=crystal)) == 2, "both are saved")
    expect(anna.said()).to_have_text("1 named polyhedral.")


def test_by_keyboard_alone_from_the_wells_to_a_corrected_crystal(
    anna: Visitor, served: Served
) -> None:
    page = anna.page
    page.get_by_role("link", name=served.well).focus()
    page.keyboard.press("Enter")
    page.locator("summary", has_text="Table of the log").focus()
    page.keyboard.press("Enter")
    page.locator("details tbody a").first.focus()
    page.keyboard.press("Enter")
    page.locator(".thumbnails a").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".scale-bar")).to_be_visible()
    page.keyboard.press(".")
    anna.wait_for_naming()
    page.keyboard.press("1")
    expect(anna.said()).to_contain_text("named rhombic")


def test_the_models_are_judged_by_the_corrections(anna: Visitor, served: Served) -> None:
    open_crystal(anna, served, 8)
    anna.page.keyboard.press("2")
    expect(anna.said()).to_contain_text("named")
    open_crystal(anna, served, 9)
    anna.page.keyboard.press("d")
    expect(anna.said()).to_contain_text("Deleted")
    with served.endpoint.client("anna") as client:
        evaluation = client.get("/v1/evaluation").json()
    (classifier,) = evaluation["classifiers"]
    (segmenter,) = evaluation["segmenters"]
    anna.look("models")
    text = anna.page.get_by_text("shapes in")
    expect(text).to_contain_text(f"of {classifier['n']} shapes in {classifier['n_tiles']} tiles")
    expect(text).to_contain_text("% – ")
    expect(anna.page.get_by_text("judged tiles, people")).to_contain_text(
        f"kept {segmenter['kept']}, deleted {segmenter['deleted']}"
    )
    expect(anna.page.get_by_role("region", name="By shape")).to_contain_text("spherical")
    expect(anna.page.get_by_text("Models trained on these")).to_be_visible()


def test_without_the_scope_the_page_looks_only(visit: Visit, served: Served) -> None:
    reader = visit(served.endpoint.url, served.endpoint.tokens["reader"])
    open_crystal(reader, served, 0)
    expect(reader.page.get_by_text("may look, but not correct")).to_be_visible()
    expect(reader.page.get_by_role("button", name="Delete")).to_be_hidden()
    reader.page.keyboard.press("1")
    reader.look("correct", well=served.well)
    expect(reader.alert()).to_contain_text("scope “correct”")
    reader.look("try")
    expect(reader.alert()).to_contain_text("scope “analyze”")
    httpx.get(served.endpoint.url, timeout=60).raise_for_status()
