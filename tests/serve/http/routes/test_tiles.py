"""One tile and its crystals: every format says the same."""

from __future__ import annotations

import io
import json
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
import tifffile
from PIL import Image
from starlette.testclient import TestClient

from mcn.catalog.query import query
from mcn.crystals import crystal_masks
from mcn.morphology import paint_crystals
from mcn.morphology.painting import mask_of_polygons

from ...small_core import HEIGHT, WELL, WIDTH, SmallCore

GEOJSON = {"Accept": "application/geo+json"}


@pytest.fixture
def tile(read_only_core: SmallCore) -> str:
    return read_only_core.tiles[0].tile_id


@pytest.fixture
def rows(read_only_core: SmallCore, tile: str) -> list[dict[str, Any]]:
    table = query(read_only_core.catalog)
    return [row for row in table.to_pylist() if row["tile_id"] == tile]


def test_tiles_of_a_well_by_depth_and_page_by_page(core_client: TestClient) -> None:
    path = f"/v1/wells/{quote(WELL, safe='')}/tiles"
    tiles, cursor = [], {}
    while True:
        page = core_client.get(path, params={"limit": 3, **cursor}).json()
        tiles += page["tiles"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert [tile["depth_m"] for tile in tiles] == [1200, 1210, 1220, 1230]
    failed = core_client.get(path, params={"status": "failed", "fields": "error,depth_m"}).json()
    assert failed["tiles"] == [
        {"tile_id": tiles[3]["tile_id"], "error": "empty file", "depth_m": 1230}
    ]
    some = core_client.get(path, params={"depth": "1205:1225"}).json()["tiles"]
    assert [tile["depth_m"] for tile in some] == [1210, 1220]
    one = core_client.get(f"/v1/wells/{quote(WELL, safe='')}").json()
    assert (one["well"], one["tiles"], one["tiles_failed"], one["corrections"]) == (WELL, 4, 1, 0)
    assert one["scanned_at"]
    bad = core_client.get(path, params={"fields": "colour"})
    assert (bad.status_code, "no column 'colour'" in bad.json()["detail"]) == (422, True)
    assert core_client.get("/v1/wells/none/tiles").status_code == 404


def test_crystals_with_polygons_rle_or_none(
    core_client: TestClient, tile: str, rows: list[dict[str, Any]]
) -> None:
    path = f"/v1/tiles/{tile}/crystals"
    answer = core_client.get(path, params={"well": WELL}).json()
    assert answer["tile"]["well"] == WELL
    assert [row["crystal_id"] for row in answer["crystals"]] == [row["crystal_id"] for row in rows]
    for row, outlined in zip(rows, answer["crystals"], strict=True):
        geometry = outlined["mask_polygons"]
        mask = mask_of_polygons([geometry["coordinates"]], HEIGHT, WIDTH)
        assert mask.pixels.sum() == row["area_px"]
        assert "mask_rle" not in outlined
    coded = core_client.get(path, params={"masks": "rle"}).json()["crystals"]
    assert coded[0]["mask_rle"] == json.loads(rows[0]["mask_rle"])
    few = core_client.get(path, params={"masks": "none", "fields": "shape,area_px"}).json()
    assert few["crystals"][0] == {
        name: rows[0][name] for name in ("crystal_id", "shape", "area_px")
    }


def test_filters_and_order(core_client: TestClient, tile: str, rows: list[dict[str, Any]]) -> None:
    sizes = sorted(row["equivalent_diameter_um"] for row in rows)
    middle = sizes[len(sizes) // 2]
    found = core_client.get(
        f"/v1/tiles/{tile}/crystals",
        params={"min_size": middle, "sort": "-equivalent_diameter_um", "masks": "none"},
    ).json()["crystals"]
    assert [round(row["equivalent_diameter_um"], 4) for row in found] == [
        round(size, 4) for size in sizes[::-1] if size >= middle
    ]
    least = core_client.get(
        f"/v1/wells/{quote(WELL, safe='')}/crystals",
        params={"sort": "confidence", "limit": 4, "masks": "polygons"},
    ).json()
    certain = [row["confidence"] for row in least["crystals"]]
    assert (certain, least["next"], len(certain)) == (sorted(certain), None, 4)
    assert least["crystals"][0]["mask_polygons"]["type"] == "Polygon"


def test_geojson_as_qupath_reads_it(
    core_client: TestClient, tile: str, rows: list[dict[str, Any]]
) -> None:
    answer = core_client.get(f"/v1/tiles/{tile}/crystals", headers=GEOJSON)
    assert answer.headers["content-type"] == "application/geo+json"
    collection = answer.json()
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == len(rows)
    for feature, row in zip(collection["features"], rows, strict=True):
        assert feature["type"] == "Feature"
        assert feature["geometry"]["type"] in ("Polygon", "MultiPolygon")
        ring = feature["geometry"]["coordinates"][0]
        assert ring[0] == ring[-1]
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        assert properties["classification"]["name"] == row["shape"]
        colour = properties["classification"]["color"]
        assert len(colour) == 3
        assert all(0 <= part <= 255 for part in colour)
        measures = properties["measurements"]
        assert measures["area_px"] == row["area_px"]
        assert all(isinstance(value, int | float) for value in measures.values())
    arrow = core_client.get(
        f"/v1/tiles/{tile}/crystals", headers={"Accept": "application/vnd.apache.arrow.stream"}
    )
    with pa.ipc.open_stream(io.BytesIO(arrow.content)) as reader:
        assert reader.read_all().to_pylist() == rows


def test_labels_number_the_crystals(
    core_client: TestClient, read_only_core: SmallCore, tile: str
) -> None:
    table = query(read_only_core.catalog, depth=(1200.0, 1200.0))
    expected = paint_crystals(crystal_masks(table), HEIGHT, WIDTH)
    png = core_client.get(f"/v1/tiles/{tile}/labels")
    assert (np.asarray(Image.open(io.BytesIO(png.content))) == expected).all()
    tiff = core_client.get(f"/v1/tiles/{tile}/labels", headers={"Accept": "image/tiff"})
    labels = tifffile.imread(io.BytesIO(tiff.content))
    assert labels.dtype == np.uint16
    assert (labels == expected).all()


def test_the_overlay_is_transparent_between_outlines(core_client: TestClient, tile: str) -> None:
    for width in (None, 100):
        params = {} if width is None else {"width": width}
        png = core_client.get(f"/v1/tiles/{tile}/overlay", params=params)
        picture = np.asarray(Image.open(io.BytesIO(png.content)).convert("RGBA"))
        assert picture.shape[1] == (width or WIDTH)
        drawn = picture[..., 3] > 0
        assert 0.005 < drawn.mean() < 0.5
    none = core_client.get(f"/v1/tiles/{tile}/overlay", params={"min_confidence": 1})
    assert not np.asarray(Image.open(io.BytesIO(none.content)).convert("RGBA"))[..., 3].any()


def test_a_crystal_and_its_picture(
    core_client: TestClient, tile: str, rows: list[dict[str, Any]]
) -> None:
    crystal_id = rows[3]["crystal_id"]
    answer = core_client.get(f"/v1/crystals/{crystal_id}", params={"well": WELL}).json()
    assert answer["crystal"]["shape"] == answer["model"]["shape"] == rows[3]["shape"]
    assert answer["history"] == []
    for params, side in (({"size": 96}, 96), ({"masked": True}, 64)):
        png = core_client.get(f"/v1/crystals/{crystal_id}/crop", params=params)
        picture = np.asarray(Image.open(io.BytesIO(png.content)))
        assert picture.shape == (side, side)
        assert picture.max() > 140
    gone = core_client.get(f"/v1/crystals/{tile}-00000000-99999")
    assert (gone.status_code, "no crystal" in gone.json()["detail"]) == (404, True)


def test_pictures_that_are_gone_and_tiles_that_failed_are_named(own_core: SmallCore) -> None:
    from pathlib import Path

    with own_core.client(name="gone") as client:
        Path(own_core.tiles[1].uri).unlink()
        gone = client.get(f"/v1/tiles/{own_core.tiles[1].tile_id}/image")
        assert (gone.status_code, "no longer there" in gone.json()["detail"]) == (404, True)
        failed = own_core.tiles[3].tile_id
        crystals = client.get(f"/v1/tiles/{failed}/crystals").json()
        assert (crystals["crystals"], crystals["tile"]["error"]) == ([], "empty file")
        assert client.get(f"/v1/tiles/{failed}/labels").status_code == 404
        assert client.get(f"/v1/iiif/{failed}/info.json").status_code == 404


def test_what_is_known_is_not_sent_again(core_client: TestClient, tile: str) -> None:
    path = f"/v1/tiles/{tile}/crystals"
    first = core_client.get(path, headers={"Accept-Encoding": "gzip"})
    assert first.headers["content-encoding"] == "gzip"
    again = core_client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = core_client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == first.headers["etag"]
    assert core_client.head("/v1/analyze").status_code == 405
