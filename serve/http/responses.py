"""Responses: content negotiation, JSON of crystals, pictures."""

from __future__ import annotations

import asyncio
import io
from typing import Any, Literal

import mimeparse
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import Request, Response
from numpy.typing import NDArray

from mcn.catalog.formats import row_objects
from mcn.catalog.schema import picture_crystals
from mcn.micrograph import Micrograph
from serve.deployments.messages import (
    PNG,
    AnalysisResult,
    CrystalRequest,
    ExplanationResult,
    PictureFacts,
)
from serve.http.errors import Problem

MaskFormat = Literal["rle", "polygons", "none"]


def negotiate(request: Request, *offers: str) -> str:
    """The media type of a route that best matches a request's Accept header.

    Parameters
    ----------
    request : Request
    *offers : str
        Media types of the route; the first is the default.

    Raises
    ------
    Problem
        406 if the request accepts none of them.
    """
    header = request.headers.get("accept", "").strip() or "*/*"
    try:
        # Of equal matches mimeparse takes the last. Media types ignore case, mimeparse does not.
        best: str = mimeparse.best_match(offers[::-1], header.lower())
    except mimeparse.MimeTypeParseException:
        best = ""
    if not best:
        raise Problem(406, f"accept: no {header[:80]!r}; ask for {', '.join(offers)}")
    return best


async def json_response(value: Any) -> Response:
    """A JSON response, encoded in a thread so that thousands of crystals do not block others."""
    body = await asyncio.to_thread(orjson.dumps, value)
    return Response(body, media_type="application/json")


async def analysis_object(
    picture: PictureFacts,
    result: AnalysisResult,
    min_confidence: float = 0.0,
    masks: MaskFormat = "rle",
) -> dict[str, Any]:
    """A picture and its crystals as JSON values (`serve.schemas.Analysis`).

    Parameters
    ----------
    picture : PictureFacts
    result : AnalysisResult
    min_confidence : float
        Crystals below it are left out.
    masks : {"rle", "polygons", "none"}
        Column of masks: `mask_rle`, `mask_polygons` (GeoJSON geometry in pixels) or none.
    """

    def make() -> dict[str, Any]:
        rows = row_objects(_crystals(picture, result, min_confidence))
        return {
            "image": picture.name,
            "width": picture.width,
            "height": picture.height,
            "pixel_size_um": picture.pixel_size_um,
            "pixel_size_source": picture.pixel_size_source,
            "pages": picture.pages,
            "note": picture.note,
            "segmenter": result.segmenter,
            "classifier": result.classifier,
            "crystal_area_fraction": result.area_fraction,
            "crystals": _with_masks(rows, masks),
        }

    return await asyncio.to_thread(make)


async def crystal_file(
    picture: PictureFacts, result: AnalysisResult, min_confidence: float, media_type: str
) -> Response:
    """The crystals of a picture alone, as `GEOJSON` or `CSV`; parameters as `analysis_object`."""

    def encode() -> bytes:
        from serve.deployments.crystal_answers import encode_crystals

        crystals = _crystals(picture, result, min_confidence)
        return encode_crystals(crystals, CrystalRequest(media_type=media_type))

    return Response(
        await asyncio.to_thread(encode), media_type=media_type, headers=note_of(picture)
    )


def note_of(picture: PictureFacts) -> dict[str, str]:
    """The header with what JSON says in `note`."""
    # A header is ASCII.
    return {"X-Note": picture.note.replace("µm", "um")} if picture.note else {}


def _crystals(picture: PictureFacts, result: AnalysisResult, min_confidence: float) -> pa.Table:
    crystals = picture_crystals(picture.name, result.crystals, result.segmenter, result.classifier)
    return crystals.filter(pc.field("confidence") >= min_confidence)


def _with_masks(rows: list[dict[str, Any]], masks: MaskFormat) -> list[dict[str, Any]]:
    if masks == "rle":
        return rows
    rles = [row.pop("mask_rle") for row in rows]
    if masks == "polygons":
        from mcn.catalog.export import outline_geometries

        for row, geometry in zip(rows, outline_geometries(rles), strict=True):
            row["mask_polygons"] = geometry
    return rows


async def overlay_png(
    name: str, micrograph: Micrograph, result: AnalysisResult, min_confidence: float
) -> bytes:
    """A picture with the outlines of its crystals, PNG; parameters as for `analysis_object`."""

    def draw() -> bytes:
        from mcn.plots import overlay_figure

        crystals = result.crystals.filter(pc.field("confidence") >= min_confidence)
        figure = overlay_figure(micrograph.pixels, crystals, micrograph.pixel_size_um, name)
        file = io.BytesIO()
        figure.savefig(file, format="png")
        return file.getvalue()

    return await asyncio.to_thread(draw)


async def explanation_response(result: ExplanationResult, media_type: str) -> Response:
    """The evidence for a shape as JSON, or as a picture."""
    if media_type == PNG:
        return Response(await asyncio.to_thread(heat_map_png, result.heat), media_type=PNG)
    rows = [[round(value, 4) for value in row] for row in result.heat.tolist()]
    return await json_response(
        {"shape": result.shape, "classifier": result.classifier, "heat": rows}
    )


def heat_map_png(heat: NDArray[np.float32]) -> bytes:
    """A heat map (64, 64) of 0 to 1 as PNG; bright pixels are evidence for the shape."""
    import matplotlib
    from PIL import Image

    colours = matplotlib.colormaps["inferno"](heat)[..., :3]
    file = io.BytesIO()
    Image.fromarray((colours * 255).round().astype(np.uint8)).resize((256, 256)).save(file, "PNG")
    return file.getvalue()
