"""`/v1/segment` over a segmenter in this process."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from mcn.mask import decode_rle
from serve.deployments.models import SegmenterDeployment
from serve.settings import ReplicaSettings

from ....fakes import PatchSegmenter
from ...local import local_client, local_services


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr("mcn.segment.load_segmenter", lambda _: PatchSegmenter())
    segmenter = SegmenterDeployment(ReplicaSettings())
    asyncio.run(segmenter.reconfigure({"model": "patches"}))
    return local_client(local_services("test-prompts", segmenter=segmenter))


def post(client: TestClient, prompts: str, **params: str) -> Any:
    file = io.BytesIO()
    pixels = np.full((40, 50), 90, np.uint8)
    pixels[5:7, 7:10] = 200
    Image.fromarray(pixels).save(file, "PNG")
    form = {"image": ("a.png", file.getvalue(), "image/png")}
    return client.post("/v1/segment", files=form, data={"prompts": prompts}, params=params)


def test_masks_have_the_catalogues_types_and_digits(client: TestClient) -> None:
    response = post(client, '{"points": [[8, 6], [9, 6]]}', model="patches")
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["image"], body["pages"], body["segmenter"]) == ("a.png", 1, PatchSegmenter.name)
    first, second = body["masks"]
    assert first == second
    mask = decode_rle(first.pop("mask_rle"))
    assert (mask.x, mask.y, mask.pixels.shape) == (7, 5, (2, 3))
    assert first == {
        "bbox_x": 7,
        "bbox_y": 5,
        "bbox_w": 3,
        "bbox_h": 2,
        "area_px": 6,
        "predicted_iou": 0.1,
        "stability": 0.9,
    }


@pytest.mark.parametrize(
    ("prompts", "message"), [("{}", "no prompt"), ('{"point": []}', "prompts.point")]
)
def test_invalid_prompts_are_named(client: TestClient, prompts: str, message: str) -> None:
    response = post(client, prompts)
    assert response.status_code == 422
    assert message in response.json()["detail"]


def test_another_segmenter_is_refused(client: TestClient) -> None:
    response = post(client, '{"points": [[8, 6]]}', model="vit_h")
    assert response.status_code == 422
    assert PatchSegmenter.name in response.json()["detail"]
