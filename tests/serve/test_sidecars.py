"""Sidecars of uploaded pictures, and invalid pixel sizes, without models."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fastapi import FastAPI, Request, Response
from starlette.testclient import TestClient

from mcn.crystals import classified_schema
from mcn.micrograph import DEFAULT_LIMITS
from mcn.taxonomy import SHAPES
from serve.client import Client
from serve.deployments.messages import AnalysisResult, PictureFacts
from serve.http.errors import Problem
from serve.http.responses import analysis_object, json_response
from serve.http.routes.analysis import PixelSize
from serve.http.uploads import decode, read_files

MAKER = b"[MAIN]\nPixelSizeX=5e-8\n"
OTHER = b"[MAIN]\nPixelSizeX=7e-8\n"


def picture() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.full((48, 64), 90, np.uint8), metadata=None)
    return file.getvalue()


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()

    @app.post("/sizes")
    async def sizes(request: Request, most: int = 1, pixel_size_um: PixelSize = None):  # type: ignore[no-untyped-def]
        try:
            parts, _ = await read_files(request, "image", most, 2**20, 10, lambda size: None)
            micrographs = [await decode(part, pixel_size_um, DEFAULT_LIMITS) for part in parts]
        except Problem as problem:
            return {"status": problem.status, "detail": problem.detail}
        return [
            [part.name, image.pixel_size_um] for part, image in zip(parts, micrographs, strict=True)
        ]

    @app.post("/v1/analyze")
    async def analyze(request: Request) -> Response:
        (part,), _ = await read_files(request, "image", 1, 2**20, 10, lambda size: None)
        micrograph = await decode(part, None, DEFAULT_LIMITS)
        no_crystals = AnalysisResult(
            "a@1", "b@1", SHAPES, classified_schema(SHAPES).empty_table(), 0.0, {}
        )
        return await json_response(
            await analysis_object(PictureFacts.of(part.name, micrograph), no_crystals)
        )

    return TestClient(app)


def sizes(client: TestClient, *files: tuple[str, str, bytes], most: int = 8):  # type: ignore[no-untyped-def]
    form = [(field, (name, data)) for field, name, data in files]
    return client.post("/sizes", params={"most": most}, files=form).json()


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("a.tif", "a.txt"),
        ("B.TIF", "B.TXT"),
        ("D.TIF", "D.txt"),
        ("a.tif", "a-TIF.hdr"),
        ("a.tif", "A.tif.txt"),
        ("core/a.tif", "core/a.txt"),
        ("core\\a.tif", "core\\a.hdr"),
    ],
)
@pytest.mark.parametrize("field", ["sidecar", "image"])
def test_a_picture_with_its_sidecar(client: TestClient, field: str, image: str, text: str) -> None:
    both = [("image", image, picture()), (field, text, MAKER)]
    for files in (both, both[::-1]):
        ((name, size),) = sizes(client, *files, most=1)
        assert size == pytest.approx(0.05)
        assert name.endswith(".tif" if image.islower() else ".TIF")


def test_the_sidecar_of_a_single_picture_may_have_any_name(client: TestClient) -> None:
    files = [("image", "image", picture()), ("sidecar", "notes.txt", MAKER)]
    assert sizes(client, *files) == [["image", pytest.approx(0.05)]]


def test_each_of_several_pictures_has_its_sidecar(client: TestClient) -> None:
    files = [
        ("image", "a.tif", picture()),
        ("sidecar", "B.TXT", OTHER),
        ("image", "b.tif", picture()),
        ("image", "c.tif", picture()),
        ("sidecar", "a-tif.hdr", MAKER),
    ]
    names_and_sizes = sizes(client, *files)
    assert names_and_sizes == [
        ["a.tif", pytest.approx(0.05)],
        ["b.tif", pytest.approx(0.07)],
        ["c.tif", None],
    ]


def test_a_sidecar_of_no_picture_or_of_two_is_refused(client: TestClient) -> None:
    pictures = [("image", "a.tif", picture()), ("image", "b.tif", picture())]
    problem = sizes(client, *pictures, ("sidecar", "c.txt", MAKER))
    assert problem["status"] == 422
    assert "'c.txt' belongs to no picture" in problem["detail"]
    twice = [("image", "a.tif", picture())] * 2
    problem = sizes(client, *twice, ("sidecar", "a.txt", MAKER))
    assert problem["status"] == 422
    assert "two pictures of one name" in problem["detail"]
    assert len(sizes(client, *twice)) == 2


def test_the_client_sends_sidecars(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpx.Client", lambda **_: client)
    (tmp_path / "B.TIF").write_bytes(picture())
    (tmp_path / "b.txt").write_bytes(MAKER)
    analysis = Client("http://endpoint").analyze(tmp_path / "B.TIF")
    assert (analysis.image, analysis.pixel_size_um) == ("B.TIF", pytest.approx(0.05))


@pytest.mark.parametrize("size", ["0", "-1", "1e-300", "1e9", "1001", "nan", "inf", "wide", ""])
def test_invalid_sizes_are_refused(client: TestClient, size: str) -> None:
    answer = client.post(
        "/sizes", params={"pixel_size_um": size}, files={"image": ("a.tif", picture())}
    )
    assert answer.status_code == 422
    answer = client.post(
        "/sizes", params={"pixel_size_um": "0.5"}, files={"image": ("a.tif", picture())}
    )
    assert answer.json() == [["a.tif", 0.5]]


def test_pixels_that_are_not_square_are_refused_with_the_reason(client: TestClient) -> None:
    files = [("image", "a.tif", picture()), ("sidecar", "a.txt", MAKER + b"PixelSizeY=1e-7\n")]
    problem = sizes(client, *files)
    assert problem["status"] == 422
    assert "its pixels are not square" in problem["detail"]


@pytest.mark.parametrize("name", [None, ""])
def test_a_sidecar_without_a_file_name_belongs_to_the_only_picture(
    client: Client, name: str | None
) -> None:
    files = [("image", ("a.tif", picture())), ("sidecar", (name, MAKER))]
    assert client.post("/sizes", files=files).json() == [["a.tif", 0.05]]
    if name is None:
        answer = client.post("/sizes", files=files[:1], data={"sidecar": OTHER.decode()})
        assert answer.json() == [["a.tif", 0.07]]
    files.append(("image", ("b.tif", picture())))
    problem = client.post("/sizes", params={"most": 8}, files=files).json()
    assert problem["status"] == 422
    assert problem["detail"].startswith("sidecar: has no file name; send it as a file")


def test_a_blank_field_is_no_sidecar(client: Client) -> None:
    files = [("image", ("a.tif", picture()))]
    assert client.post("/sizes", files=files, data={"sidecar": " "}).json() == [["a.tif", None]]
