"""Pictures by the IIIF Image API 3, as viewers ask for them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from mcn.micrograph import read_micrograph

from ...small_core import HEIGHT, WELL, WIDTH, SmallCore


@pytest.fixture
def base(read_only_core: SmallCore) -> str:
    return f"/v1/iiif/{read_only_core.tiles[0].tile_id}"


def picture(client: TestClient, path: str) -> np.ndarray:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, max-age=86400"
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_the_description_of_a_picture(core_client: TestClient, base: str) -> None:
    answer = core_client.get(base, params={"well": WELL}, follow_redirects=False)
    assert answer.status_code == 303
    info: dict[str, Any] = core_client.get(answer.headers["location"]).json()
    assert info["id"] == f"http://127.0.0.1:8000{base}"
    assert (info["type"], info["profile"], info["protocol"]) == (
        "ImageService3",
        "level1",
        "http://iiif.io/api/image",
    )
    assert (info["width"], info["height"]) == (WIDTH, HEIGHT)
    assert info["@context"] == "http://iiif.io/api/image/3/context.json"
    linked = core_client.get(f"{base}/info.json", headers={"Accept": "application/ld+json"})
    assert linked.headers["content-type"].startswith("application/ld+json;profile=")


def test_regions_have_the_pixels_of_the_picture(
    core_client: TestClient, read_only_core: SmallCore, base: str
) -> None:
    pixels = read_micrograph(read_only_core.tiles[0].uri).pixels
    whole = picture(core_client, f"{base}/full/max/0/default.png")
    np.testing.assert_array_equal(whole, pixels)
    part = picture(core_client, f"{base}/30,20,50,40/max/0/gray.png?well={WELL}")
    np.testing.assert_array_equal(part, pixels[20:60, 30:80])
    cut = picture(core_client, f"{base}/380,220,512,512/max/0/default.png")
    np.testing.assert_array_equal(cut, pixels[220:, 380:])
    square = picture(core_client, f"{base}/square/max/0/default.png")
    np.testing.assert_array_equal(square, pixels[:, 80:320])
    share = picture(core_client, f"{base}/pct:50,50,25,25/max/0/default.png")
    np.testing.assert_array_equal(share, pixels[120:180, 200:300])


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ("100,", (60, 100)),
        (",60", (60, 100)),
        ("50,50", (50, 50)),
        ("!128,128", (77, 128)),
        ("!4000,4000", (240, 400)),
        ("pct:12.5", (30, 50)),
    ],
)
@pytest.mark.parametrize("form", ["jpg", "webp", "png"])
def test_sizes_and_formats(
    core_client: TestClient, base: str, size: str, shape: tuple[int, int], form: str
) -> None:
    assert picture(core_client, f"{base}/full/{size}/0/default.{form}").shape[:2] == shape


def test_smaller_sizes_are_means(
    core_client: TestClient, read_only_core: SmallCore, base: str
) -> None:
    pixels = read_micrograph(read_only_core.tiles[0].uri).pixels.astype(float)
    small = picture(core_client, f"{base}/full/200,120/0/default.png").astype(float)
    means = pixels.reshape(120, 2, 200, 2).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 1


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("0,0,0,10/max/0/default.jpg", "no pixel"),
        ("400,0,10,10/max/0/default.jpg", "no pixel"),
        ("-1,0,10,10/max/0/default.jpg", "not a region"),
        ("1,2,3/max/0/default.jpg", "not a region"),
        ("full/500,/0/default.jpg", "larger than"),
        ("full/^500,/0/default.jpg", "not a size"),
        ("full/0,/0/default.jpg", "no pixel"),
        ("full/,/0/default.jpg", "no width or height"),
        ("full/pct:110/0/default.jpg", "larger than"),
        ("full/max/90/default.jpg", "rotation"),
        ("full/max/0/bitonal.jpg", "quality"),
        ("full/max/0/default.tif", "format"),
    ],
)
def test_what_is_not_supported_is_named(
    core_client: TestClient, base: str, path: str, reason: str
) -> None:
    answer = core_client.get(f"{base}/{path}")
    assert answer.status_code == 400, answer.text
    assert reason in answer.json()["detail"]
