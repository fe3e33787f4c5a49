"""The evidence for a crystal of the catalogue, and crystals that look like it."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from mcn.catalog.query import query
from mcn.catalog.store import Catalog

from ...conftest import Endpoint


@pytest.fixture(scope="module")
def crystal(scanned: Path) -> dict:  # type: ignore[type-arg]
    row: dict = query(Catalog.open(scanned / "catalog")).slice(0, 1).to_pylist()[0]  # type: ignore[type-arg]
    return row


def test_the_heat_map_is_that_of_the_crop(lab: httpx.Client, crystal: dict) -> None:  # type: ignore[type-arg]
    url = f"/v1/crystals/{crystal['crystal_id']}"
    heat = lab.get(f"{url}/heat", params={"well": crystal["well"]}).json()
    crop = lab.get(f"{url}/crop", params={"masked": True}).content
    explained = lab.post("/v1/explain", files={"crop": ("a.png", crop, "image/png")}).json()
    assert heat == explained
    assert heat["shape"] == crystal["shape"]
    other = lab.get(f"{url}/heat", params={"shape": "spherical"}).json()
    assert other["shape"] == "spherical"
    assert np.array(other["heat"]).shape == (64, 64)
    drawn = lab.get(f"{url}/heat", headers={"Accept": "image/png"})
    assert Image.open(io.BytesIO(drawn.content)).size == (256, 256)
    unknown = lab.get(f"{url}/heat", params={"shape": "cubic"})
    assert unknown.status_code == 422
    assert "rhombic" in unknown.json()["detail"]


def test_similar_crystals_are_of_the_tile_and_mostly_of_the_shape(
    lab: httpx.Client,
    crystal: dict,  # type: ignore[type-arg]
) -> None:
    url = f"/v1/crystals/{crystal['crystal_id']}/similar"
    answer = lab.get(url, params={"limit": 10, "well": crystal["well"], "corrected": True})
    assert answer.status_code == 200, answer.text
    rows = answer.json()["crystals"]
    assert len(rows) == 10
    assert {row["tile_id"] for row in rows} == {crystal["tile_id"]}
    assert crystal["crystal_id"] not in {row["crystal_id"] for row in rows}
    similarities = [row["similarity"] for row in rows]
    assert similarities == sorted(similarities, reverse=True)
    assert 0 <= similarities[-1] <= similarities[0] <= 1
    assert sum(row["shape"] == crystal["shape"] for row in rows) >= 5
    assert "mask_rle" not in rows[0]


def test_both_scopes_are_needed(endpoint: Endpoint, crystal: dict) -> None:  # type: ignore[type-arg]
    for path in ("heat", "similar"):
        url = f"/v1/crystals/{crystal['crystal_id']}/{path}"
        for token, scope in (("reader", "analyze"), ("analyst", "read")):
            with endpoint.client(token) as client:
                refused = client.get(url)
            assert refused.status_code == 403
            assert f"lacks the scope {scope}" in refused.json()["detail"]


def test_a_crystal_that_is_not_there(lab: httpx.Client, crystal: dict) -> None:  # type: ignore[type-arg]
    for path in ("heat", "similar"):
        for missing in (f"{crystal['tile_id']}-999999", f"{'0' * 32}-1"):
            answer = lab.get(f"/v1/crystals/{missing}/{path}")
            assert answer.status_code == 404
            assert "\n" not in answer.json()["detail"]
