"""What a picture is called never breaks an answer; without an endpoint."""

import asyncio
import io
import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from mcn.crystals import classified_schema
from mcn.micrograph import decode_micrograph
from serve.deployments.messages import AnalysisResult
from serve.http.responses import analysis_object, json_response, overlay_png
from serve.schemas import Analysis

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
def test_a_picture_of_any_name_is_answered(name: str) -> None:
    micrograph = decode_micrograph(picture(), name)
    answer = asyncio.run(analysis_object(name, micrograph, NONE))
    body = bytes(asyncio.run(json_response(answer)).body)
    assert json.loads(body)["image"] == name
    overlay = asyncio.run(overlay_png(name, micrograph, NONE, 0.0))
    assert Image.open(io.BytesIO(overlay)).format == "PNG"


def test_pages_that_are_not_read_are_said() -> None:
    micrograph = decode_micrograph(picture(3), "a.tif")
    answer = asyncio.run(analysis_object("a.tif", micrograph, NONE))
    assert Analysis.model_validate(answer).pages == 3
    del answer["pages"]
    assert Analysis.model_validate(answer).pages == 1
