"""`/v1/segment` over a segmenter in this process."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from mcn.mask import Mask, decode_rle
from mcn.segment.inference.prompts import PromptError
from serve.deployments.messages import ModelInfo
from serve.deployments.models import SegmenterDeployment
from serve.http.application import create_app
from serve.http.auth import AccessControl
from serve.http.dispatch import ConcurrencyLimit, Services
from serve.metrics import ServeMetrics
from serve.settings import ReplicaSettings, Settings, plan_replicas


class SquareSegmenter:
    """Gives a square of 3×2 pixels at 7, 5 for every point."""

    name = "square@1"

    def segment(self, images: Any) -> list[list[Mask]]:
        return [[] for _ in images]

    def predict(self, image: Any, points: Any, labels: Any, boxes: Any) -> list[Mask]:
        del image, labels, boxes
        if not points:
            raise PromptError("no prompt; give points")
        square = Mask(x=7, y=5, pixels=np.ones((2, 3), bool), predicted_iou=0.1, stability=0.9)
        return [square] * len(points)


class SegmenterHandle:
    """A Serve handle of a deployment in this process."""

    def __init__(self) -> None:
        self._deployment = SegmenterDeployment(ReplicaSettings())

    def __getattr__(self, name: str) -> Any:
        async def remote(*arguments: Any) -> Any:
            if name == "about":
                return ModelInfo("square@1", prompts=True)
            await self._deployment.reconfigure({"model": "square"})
            return await getattr(self._deployment, name)(*arguments)

        return type("Method", (), {"remote": staticmethod(remote)})


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr("mcn.segment.load_segmenter", lambda _: SquareSegmenter())
    settings = Settings(insecure=True)
    services = Services(
        SegmenterHandle(), None, None, settings, plan_replicas(2, 0, settings),
        ServeMetrics("test-prompts"), analyses=ConcurrencyLimit(1), crops=ConcurrencyLimit(1),
    )  # fmt: skip
    return TestClient(create_app(services, AccessControl(settings)))


def post(client: TestClient, prompts: str, **params: str) -> Any:
    file = io.BytesIO()
    Image.fromarray(np.full((40, 50), 90, np.uint8)).save(file, "PNG")
    form = {"image": ("a.png", file.getvalue(), "image/png")}
    return client.post("/v1/segment", files=form, data={"prompts": prompts}, params=params)


def test_masks_have_the_catalogue_s_types_and_digits(client: TestClient) -> None:
    response = post(client, '{"points": [[8, 6], [9, 6]]}', model="square")
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["image"], body["pages"], body["segmenter"]) == ("a.png", 1, "square@1")
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
    assert "square@1" in response.json()["detail"]
