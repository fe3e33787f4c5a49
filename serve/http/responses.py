"""What goes out: the form that a client accepts, and JSON of crystals."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Any, Literal

import mimeparse
import orjson
import pyarrow.compute as pc
from fastapi import Request, Response

from mcn.catalog.formats import row_objects
from mcn.catalog.schema import picture_crystals
from mcn.micrograph import Micrograph
from serve.deployments.messages import AnalysisResult
from serve.http.errors import Problem

Masks = Literal["rle", "polygons", "none"]


def accepted(request: Request, *offers: str) -> str:
    """The form of answer that a request accepts best; the first where it does not say.

    Raises
    ------
    Problem
        406 where it accepts none of them.
    """
    header = request.headers.get("accept", "").strip() or "*/*"
    try:
        # The library prefers the last of equals.
        best: str = mimeparse.best_match(offers[::-1], header)
    except mimeparse.MimeTypeParseException:
        best = ""
    if not best:
        raise Problem(406, f"accept {header[:80]!r}; there are {', '.join(offers)}")
    return best


async def json_answer(value: Any) -> Response:
    """JSON, written off the event loop: thousands of crystals take their time."""
    body = await asyncio.to_thread(orjson.dumps, value)
    return Response(body, media_type="application/json")


async def as_analysis(
    name: str,
    micrograph: Micrograph,
    analyzed: AnalysisResult,
    min_confidence: float = 0.0,
    masks: Masks = "rle",
) -> dict[str, Any]:
    """A picture and its crystals as JSON values.

    Parameters
    ----------
    name : str
        What to call the picture.
    micrograph : Micrograph
    analyzed : AnalysisResult
    min_confidence : float
        Crystals of less are left out.
    masks : {"rle", "polygons", "none"}
        How to give masks: `mask_rle`, or `mask_polygons` as a GeoJSON geometry in pixels.
    """
    height, width = micrograph.pixels.shape

    def write() -> dict[str, Any]:
        crystals = picture_crystals(
            name, analyzed.crystals, analyzed.segmenter, analyzed.classifier
        )
        rows = row_objects(crystals.filter(pc.field("confidence") >= min_confidence))
        return {
            "image": name,
            "width": width,
            "height": height,
            "pixel_size_um": micrograph.pixel_size_um,
            "pixel_size_source": micrograph.pixel_size_source,
            "pages": micrograph.pages,
            "segmenter": analyzed.segmenter,
            "classifier": analyzed.classifier,
            "crystal_area_fraction": analyzed.area_fraction,
            "crystals": _with_masks(rows, masks),
        }

    return await asyncio.to_thread(write)


def _with_masks(rows: list[dict[str, Any]], masks: Masks) -> list[dict[str, Any]]:
    if masks == "rle":
        return rows
    rles = [row.pop("mask_rle") for row in rows]
    if masks == "polygons":
        from mcn.catalog.export import outline_geometries

        for row, geometry in zip(rows, outline_geometries(rles), strict=True):
            row["mask_polygons"] = geometry
    return rows


async def as_overlay(
    name: str, micrograph: Micrograph, analyzed: AnalysisResult, min_confidence: float
) -> Response:
    """The outlines of a picture's crystals on it, PNG."""

    def draw() -> bytes:
        from mcn.plots import overlay_figure

        crystals = analyzed.crystals.filter(pc.field("confidence") >= min_confidence)
        figure = overlay_figure(micrograph.pixels, crystals, micrograph.pixel_size_um, name)
        file = io.BytesIO()
        figure.savefig(file, format="png")
        return file.getvalue()

    return Response(await asyncio.to_thread(draw), media_type="image/png")


def heat_picture(heat: Any) -> bytes:
    """A heat map (64, 64) of 0 to 1 as PNG, dark where nothing speaks for the shape."""
    import matplotlib
    import numpy as np
    from PIL import Image

    colours = matplotlib.colormaps["inferno"](np.asarray(heat))[..., :3]
    file = io.BytesIO()
    Image.fromarray((colours * 255).round().astype(np.uint8)).resize((256, 256)).save(file, "PNG")
    return file.getvalue()


def names_of(values: Sequence[str] | None) -> list[str]:
    """A repeated parameter as a list."""
    return list(values or ())
