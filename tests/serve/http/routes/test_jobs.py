"""A picture that is too large for one request is analysed as a job."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile
from PIL import Image

from serve.client import Client, ClientError

from ....waiting import wait_until
from ...conftest import Endpoint


def tiff(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, compression="deflate")
    return file.getvalue()


@pytest.fixture(scope="module")
def large(tile: Path) -> bytes:
    """Six megapixels, of which the upper left part is a tile; a request may have four."""
    pixels = np.full((2000, 3000), 60, np.uint8)
    part = tifffile.imread(tile)
    pixels[: part.shape[0], : part.shape[1]] = part
    return tiff(pixels)


@contextmanager
def started(client: httpx.Client, picture: bytes) -> Iterator[dict]:  # type: ignore[type-arg]
    answer = client.post("/v1/jobs", files={"image": ("large.tif", picture, "image/tiff")})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == job["url"] == f"/v1/jobs/{job['id']}"
    try:
        yield job
    finally:
        client.delete(job["url"])


def ended(client: httpx.Client, job: dict) -> dict:  # type: ignore[type-arg]
    states = []

    def has_ended() -> bool:
        answer = client.get(job["url"])
        assert answer.status_code == 200, answer.text
        states.append(answer.json())
        return states[-1]["status"] in ("done", "failed", "cancelled")

    wait_until(has_ended, "the job has ended")
    shares = [state["progress"] for state in states]
    assert shares == sorted(shares)
    return states[-1]


def test_a_job_gives_what_a_request_gives(lab: httpx.Client, tile: Path) -> None:
    data = tile.read_bytes()
    analysis = lab.post("/v1/analyze", content=data, headers={"Content-Type": "image/tiff"}).json()
    with started(lab, data) as job:
        state = ended(lab, job)
        assert (state["status"], state["progress"], state["problem"]) == ("done", 1.0, None)
        result = lab.get(state["result"]).json()
        assert (result["image"], state["image"]) == ("large.tif", "large.tif")
        own = {"crystal_id", "tile_id", "scanned_at"}
        for crystal, same in zip(result["crystals"], analysis["crystals"], strict=True):
            assert {n: v for n, v in crystal.items() if n not in own} == {
                n: v for n, v in same.items() if n not in own
            }
        params = {"min_confidence": 0.8, "masks": "polygons"}
        sure = lab.get(state["result"], params=params).json()["crystals"]
        assert 0 < len(sure) < len(result["crystals"])
        assert sure[0]["mask_polygons"]["type"] in ("Polygon", "MultiPolygon")
        for form in ("application/geo+json", "text/csv"):
            answer = lab.get(state["result"], headers={"Accept": form})
            assert answer.headers["content-type"].startswith(form)
            assert answer.text.count("rhombic") + answer.text.count("polyhedral") > 10
    assert lab.get(job["url"]).status_code == 404, "it was forgotten"


def test_a_large_picture_is_refused_by_a_request_and_taken_as_a_job(
    endpoint: Endpoint, lab: httpx.Client, large: bytes
) -> None:
    refused = lab.post("/v1/analyze", content=large, headers={"Content-Type": "image/tiff"})
    assert refused.status_code == 413
    assert "/v1/jobs" in refused.json()["detail"]
    shares: list[float] = []
    with Client(endpoint.url, endpoint.tokens["lab"]) as client:
        analysis = client.analyze(large, min_confidence=0.3, report=shares.append)
    assert (analysis.width, analysis.height) == (3000, 2000)
    assert len(analysis.crystals) > 20
    assert shares[-1] == 1.0


def test_a_job_belongs_to_its_token(endpoint: Endpoint, lab: httpx.Client, tile: Path) -> None:
    with started(lab, tile.read_bytes()) as job:
        with endpoint.client("analyst") as other:
            assert other.get(job["url"]).status_code == 404
            assert other.get(f"{job['url']}/result").status_code == 404
            assert other.delete(job["url"]).status_code == 404
        with endpoint.client("reader") as reader:
            assert reader.get(job["url"]).status_code == 403
            assert reader.post("/v1/jobs", content=b"").status_code == 403
        assert lab.get(job["url"]).status_code == 200


def test_a_job_is_cancelled(lab: httpx.Client, large: bytes) -> None:
    with started(lab, large) as first, started(lab, large) as second:
        assert second["status"] == "queued"
        for job in (second, first):
            assert lab.delete(job["url"]).status_code == 204
            state = lab.get(job["url"]).json()
            assert (state["status"], state["result"]) == ("cancelled", None)
            refused = lab.get(f"{job['url']}/result")
            assert refused.status_code == 409
            assert "cancelled" in refused.json()["detail"]


def test_what_no_job_can_take(endpoint: Endpoint, lab: httpx.Client) -> None:
    def post(data: bytes) -> httpx.Response:
        return lab.post("/v1/jobs", content=data, headers={"Content-Type": "image/png"})

    assert post(b"no picture").status_code == 422
    file = io.BytesIO()
    Image.fromarray(np.zeros((17_000, 17_000), np.uint8)).save(file, "PNG", compress_level=1)
    huge = post(file.getvalue())
    assert huge.status_code == 413
    assert "17000×17000" in huge.json()["detail"]
    assert lab.get("/v1/jobs/unknown").status_code == 404
    assert lab.get("/v1/jobs/a%2Fb").status_code in (404, 422)
    with (
        Client(endpoint.url, endpoint.tokens["lab"]) as client,
        pytest.raises(ClientError, match="413"),
    ):
        client.analyze(file.getvalue())
