"""Responses have the results in the requested format, for pictures of any name."""

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from starlette.requests import Request

from mcn.crystals import classified_schema
from mcn.micrograph import Micrograph, decode_micrograph
from mcn.taxonomy import SHAPES
from serve.deployments.messages import CSV, JSON, PNG, AnalysisResult, PictureFacts
from serve.http.errors import Problem
from serve.http.responses import (
    analysis_object,
    heat_map_png,
    json_response,
    negotiate,
    overlay_png,
)
from serve.schemas import Analysis

from ...fakes import classified_table, crystal_row

NAMES = (
    "岩芯钻孔显微照片" * 4 + ".png",
    "é" * 200,
    "a\nb\t\x1b[31mc.tif",
    "quo\"te's.tif",
    "100%25 %20.tif",
    "🪨💎.png",
    "-rf",
    "..",
    "../../etc/passwd",
    "a::b",
    "$x^2_$ and $",
    "",
)
NO_CRYSTALS = classified_schema(("rhombic",)).empty_table()
NONE = AnalysisResult("a@1", "b@1", ("rhombic",), NO_CRYSTALS, 0.0, {})


def picture(pages: int = 1) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for _ in range(pages):
            writer.write(np.full((40, 50), 90, np.uint8), metadata=None)
    return file.getvalue()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("error:Glyph")
def test_a_picture_may_have_any_name(name: str) -> None:
    micrograph = decode_micrograph(picture(), name)
    answer = asyncio.run(analysis_object(PictureFacts.of(name, micrograph), NONE))
    body = bytes(asyncio.run(json_response(answer)).body)
    assert json.loads(body)["image"] == name
    overlay = asyncio.run(overlay_png(name, micrograph, NONE, 0.0))
    assert Image.open(io.BytesIO(overlay)).format == "PNG"


def test_unread_pages_are_reported() -> None:
    micrograph = decode_micrograph(picture(3), "a.tif")
    answer = asyncio.run(analysis_object(PictureFacts.of("a.tif", micrograph), NONE))
    assert Analysis.model_validate(answer).pages == 3
    assert "only page 1 of 3" in answer["note"]
    del answer["pages"]
    assert Analysis.model_validate(answer).pages == 1


def request(accept: str | None) -> Request:
    headers = [] if accept is None else [(b"accept", accept.encode())]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("image/*", PNG),
        ("image/png;q=0.5, application/json;q=0.4", PNG),
        ("text/html, application/json;q=0.1", JSON),
        ("APPLICATION/JSON", JSON),
        ("Image/PNG;Q=0.5, application/json;q=0.4", PNG),
    ],
)
def test_the_preferred_format_is_used(accept: str | None, chosen: str) -> None:
    assert negotiate(request(accept), JSON, PNG) == chosen


@pytest.mark.parametrize("accept", ["text/html", "image/png;q=0", "nonsense"])
def test_unavailable_formats_are_refused(accept: str) -> None:
    with pytest.raises(Problem, match="ask for application/json, text/csv") as error:
        negotiate(request(accept), JSON, CSV)
    assert error.value.status == 406


@pytest.fixture
def answer() -> Callable[..., dict[str, Any]]:
    rows = [crystal_row("rhombic", confidence=0.9), crystal_row("spherical", confidence=0.3)]
    result = AnalysisResult("a@1", "b@1", SHAPES, classified_table(rows), 0.25, {})
    micrograph = Micrograph(np.zeros((48, 64), np.uint8), 0.1, "vendor", "a.tif", None)

    def make(**options: Any) -> dict[str, Any]:
        return asyncio.run(analysis_object(PictureFacts.of("a.tif", micrograph), result, **options))

    return make


def test_results_name_models_and_describe_the_picture(
    answer: Callable[..., dict[str, Any]],
) -> None:
    analysis = Analysis.model_validate(answer())
    assert (analysis.width, analysis.height, analysis.pixel_size_um) == (64, 48, 0.1)
    assert analysis.crystal_area_fraction == 0.25
    assert [crystal.shape for crystal in analysis.crystals] == ["rhombic", "spherical"]
    assert {(c.segmenter, c.classifier) for c in analysis.crystals} == {("a@1", "b@1")}
    assert analysis.crystals[0].mask_rle.size == [48, 64]


def test_uncertain_crystals_and_masks_may_be_omitted(answer: Callable[..., dict[str, Any]]) -> None:
    (sure,) = answer(min_confidence=0.5)["crystals"]
    assert sure["shape"] == "rhombic"
    assert "mask_rle" not in answer(masks="none")["crystals"][0]
    (first, _) = answer(masks="polygons")["crystals"]
    assert "mask_rle" not in first
    assert first["mask_polygons"]["type"] in ("Polygon", "MultiPolygon")


def test_a_heat_map_is_dark_without_evidence() -> None:
    heat = np.zeros((64, 64), np.float32)
    heat[:, 32:] = 1
    pixels = np.asarray(Image.open(io.BytesIO(heat_map_png(heat))).convert("L"))
    assert pixels.shape == (256, 256)
    assert pixels[:, :120].max() < 20
    assert pixels[:, 136:].min() > 200
