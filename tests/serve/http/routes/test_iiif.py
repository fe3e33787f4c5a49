"""Pictures of tiles over HTTP, as viewers of IIIF ask for them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from mcn.micrograph import Limits
from mcn.micrograph.pyramid import Region
from serve.deployments.messages import Content, Refusal
from serve.deployments.tile_pictures import TilePictures, encode_region
from serve.settings import Settings
from serve.tokens import digest_of

from ...local import local_client, local_services

TILE, FAILED, GONE = "a" * 32, "f" * 32, "0" * 32
PIXELS = np.random.default_rng(0).integers(0, 255, (600, 1000), np.uint8)


class Reader:
    """Two tiles, one of which the scan could not read."""

    def __init__(self) -> None:
        content = bytes(imagecodecs.png_encode(PIXELS))
        self._pictures = TilePictures(lambda uri: content, Limits())
        self.regions = 0

    def latest_tile(self, tile_id: str, well: str | None) -> dict[str, Any] | Refusal:
        if tile_id == GONE:
            return Refusal(404, f"no tile {tile_id!r}")
        failed = tile_id == FAILED
        return {
            "uri": "s3://tiles/a.png", "etag": "1", "pixel_size_um": 0.1, "scanned_at": None,
            "width": None if failed else 1000, "height": None if failed else 600,
            "error": "not a picture" if failed else None,
        }  # fmt: skip

    def region(self, tile_id: str, well: str | None, region: Region, media_type: str) -> Content:
        self.regions += 1
        row = self.latest_tile(tile_id, well)
        assert isinstance(row, dict)
        return Content(encode_region(self._pictures.pyramid(row), region, media_type), media_type)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.fixture(scope="module")
def client(reader: Reader) -> Iterator[TestClient]:
    settings = Settings(token_sha256=digest_of("a good token"), requests_a_minute=3)
    with local_client(local_services("test-iiif", reader=reader, settings=settings)) as client:
        client.headers["Authorization"] = "Bearer a good token"
        yield client


def test_the_base_address_leads_to_the_information(client: TestClient) -> None:
    answer = client.get(f"/v1/iiif/{TILE}?well=A%201")
    assert answer.history[0].status_code == 303
    document = answer.json()
    assert (document["width"], document["height"]) == (1000, 600)
    assert document["id"] == f"http://testserver/v1/iiif/{TILE}"


def test_linked_data_are_given_to_those_who_ask(client: TestClient) -> None:
    headers = {"Accept": "application/ld+json"}
    answer = client.get(f"/v1/iiif/{TILE}/info.json", headers=headers)
    assert answer.headers["content-type"].startswith("application/ld+json;profile=")


def test_a_region_is_the_pixels(client: TestClient) -> None:
    answer = client.get(f"/v1/iiif/{TILE}/100,50,300,200/max/0/default.png")
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(answer.content))), PIXELS[50:250, 100:400]
    )


@pytest.mark.parametrize(("ending", "kind"), [("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")])
def test_formats(client: TestClient, ending: str, kind: str) -> None:
    answer = client.get(f"/v1/iiif/{TILE}/full/!100,100/0/gray.{ending}")
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.size) == (kind, (100, 60))


def test_an_unchanged_picture_is_not_made_again(client: TestClient, reader: Reader) -> None:
    path = f"/v1/iiif/{TILE}/full/max/0/default.jpg"
    first = client.get(path)
    assert first.headers["cache-control"] == "private, max-age=86400"
    made = reader.regions
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, reader.regions) == (304, b"", made)


def test_a_viewer_does_not_use_up_the_rate_of_its_token(client: TestClient) -> None:
    path = f"/v1/iiif/{TILE}/0,0,100,100/max/0/default.jpg"
    assert {client.get(path).status_code for _ in range(9)} == {200}


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (f"{TILE}/full/max/90/default.jpg", 400, "rotation"),
        (f"{TILE}/full/max/0/bitonal.jpg", 400, "quality"),
        (f"{TILE}/full/max/0/default.gif", 400, "format"),
        (f"{TILE}/2000,0,5,5/max/0/default.jpg", 400, "outside"),
        (f"{FAILED}/info.json", 404, "not a picture"),
        (f"{GONE}/full/max/0/default.jpg", 404, "no tile"),
        ("nonsense/info.json", 422, "tile_id"),
    ],
)
def test_what_cannot_be_shown_is_said(
    client: TestClient, path: str, status: int, said: str
) -> None:
    answer = client.get(f"/v1/iiif/{path}")
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_pictures_need_a_token(client: TestClient) -> None:
    answer = client.get(f"/v1/iiif/{TILE}/info.json", headers={"Authorization": ""})
    assert answer.status_code == 401


def test_the_session_is_the_token(client: TestClient) -> None:
    session = client.get("/v1/session").json()
    assert session["name"] == "all"
    assert {"read", "analyze", "admin"} <= set(session["scopes"])
    assert session["expires"] is None
