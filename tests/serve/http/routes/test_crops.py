"""`/v1/classify` and `/v1/explain` over a classifier in this process."""

import asyncio
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from mcn.classify import load_classifier
from mcn.taxonomy import FACET_OF_SHAPE, SHAPES
from serve.deployments.models import ClassifierDeployment
from serve.settings import ReplicaSettings

from ...local import local_client, local_services


@pytest.fixture(scope="module")
def client() -> TestClient:
    classifier = ClassifierDeployment(ReplicaSettings())
    asyncio.run(classifier.reconfigure({"model": "nsr"}))
    return local_client(local_services("test-crops", classifier=classifier))


def crop(seed: int, side: int = 64) -> NDArray[np.uint8]:
    """A bright box on black."""
    pixels = np.zeros((side, side), np.uint8)
    pixels[10:50, 12:52] = np.random.default_rng(seed).integers(90, 200, (40, 40), dtype=np.uint8)
    return pixels


def file_of(pixels: NDArray[np.uint8], name: str) -> tuple[str, tuple[str, bytes]]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "crop", (name, file.getvalue())


def test_crops_are_classified_in_their_order(client: TestClient) -> None:
    crops = [crop(0), np.flipud(crop(1)), crop(2)]
    files = [file_of(pixels, f"{number}.png") for number, pixels in enumerate(crops)]
    body = client.post("/v1/classify", files=files).json()
    classifier = load_classifier("nsr")
    expected = classifier.classify(np.stack(crops))
    assert body["classifier"] == classifier.name
    assert [row["crop"] for row in body["crops"]] == ["0.png", "1.png", "2.png"]
    for row, p, confidence in zip(
        body["crops"], expected.probabilities, expected.confidence, strict=True
    ):
        assert list(row["probabilities"]) == list(SHAPES)
        assert list(row["probabilities"].values()) == pytest.approx(p.tolist(), abs=1e-5)
        assert row["confidence"] == pytest.approx(float(confidence), abs=1e-5)
        assert row["shape"] == SHAPES[int(p.argmax())]
        assert row["facet"] == FACET_OF_SHAPE[row["shape"]]


def test_the_evidence_is_a_map_or_a_picture(client: TestClient) -> None:
    files = [file_of(crop(0), "a.png")]
    likeliest = client.post("/v1/classify", files=files).json()["crops"][0]["shape"]
    body = client.post("/v1/explain", files=files).json()
    assert body["shape"] == likeliest
    assert np.array(body["heat"]).shape == (64, 64)
    picture = client.post("/v1/explain", files=files, headers={"Accept": "image/png"})
    assert Image.open(io.BytesIO(picture.content)).size == (256, 256)
    other = client.post("/v1/explain", files=files, params={"shape": "amorphous"}).json()
    assert other["shape"] == "amorphous"


@pytest.mark.parametrize("name", [("crop", "+2AA-.png"), ("crop", "a.png", "+2AA-"), ("+2AA-",)])
def test_a_form_whose_text_is_not_unicode_is_refused(
    client: TestClient, name: tuple[str, ...]
) -> None:
    """UTF-7 is a charset that can spell half a character."""
    _, (_, png) = file_of(crop(0), "")
    field, file, value = (*name, *("crop", "a.png", "x")[len(name) :])
    body = (
        b'--b\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
        b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\n%s\r\n--b--\r\n'
    ) % (field.encode(), file.encode(), png, value.encode())
    headers = {"Content-Type": "multipart/form-data; boundary=b; charset=utf-7"}
    answer = client.post("/v1/classify", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert "not Unicode" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/explain"])
def test_a_picture_of_another_size_is_named(client: TestClient, path: str) -> None:
    response = client.post(path, files=[file_of(crop(0, side=65), "big.png")])
    assert response.status_code == 422
    assert response.json()["detail"] == "big.png: it has 65×65 pixels; a crop has 64×64"


def test_only_one_crop_is_explained_and_only_by_a_known_shape(client: TestClient) -> None:
    file = file_of(crop(0), "a.png")
    assert client.post("/v1/explain", files=[file, file]).status_code == 422
    response = client.post("/v1/explain", files=[file], params={"shape": "cubic"})
    assert response.status_code == 422
    assert "no 'cubic'" in response.json()["detail"]
    assert client.post("/v1/classify", files=[("picture", file[1])]).status_code == 422
