"""Routes about one tile and all its crystals."""

from __future__ import annotations

from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from serve.deployments.messages import ARROW, CSV, GEOJSON, JSON, PNG, TIFF, Content
from serve.http.auth import require
from serve.http.caching import KEEP, content_response
from serve.http.dispatch import CurrentServices
from serve.http.openapi import BINARY, TEXT
from serve.http.responses import negotiate
from serve.http.routes.catalog import PROBLEMS
from serve.http.routes.filters import (
    AsOf,
    FilteredCrystals,
    FormOfCrystals,
    Model,
    OfWell,
    TileId,
    public_row,
    read,
)
from serve.schemas import TileCrystals, TileRecord

router = APIRouter(
    prefix="/v1",
    tags=["catalogue"],
    responses=PROBLEMS,
)
_READ: Final = [Depends(require("read"))]


@router.get(
    "/tiles/{tile_id}",
    summary="The record of a tile",
    response_model=TileRecord,
    dependencies=_READ,
)
async def tile(
    request: Request,
    services: CurrentServices,
    tile_id: TileId,
    well: OfWell = None,
    segmenter: Model = None,
    classifier: Model = None,
    as_of: AsOf = None,
) -> Response:
    """One row per pair of models that has scanned the tile, the latest first.

    A token with the scope `admin` gets the whole `uri`, others the file's name.
    """
    negotiate(request, JSON)
    rows = await read(services, "tile", tile_id, well, (segmenter, classifier), as_of=as_of)
    rows = [public_row(request, row) for row in rows]
    body = orjson.dumps({"tile_id": tile_id, "rows": rows})
    return await content_response(request, body, JSON)


@router.get(
    "/tiles/{tile_id}/image",
    summary="The picture of a tile",
    responses={200: {"content": {PNG: BINARY}, "description": "Grey, 8 bits."}},
    response_class=Response,
    dependencies=_READ,
)
async def image(
    request: Request, services: CurrentServices, tile_id: TileId, well: OfWell = None
) -> Response:
    """The tile as it was analysed, 8 bits."""
    negotiate(request, PNG)
    content: Content = await read(services, "image", tile_id, well)
    return await content_response(
        request, content.body, PNG, version=f"image {content.version}", cache=KEEP
    )


@router.get(
    "/tiles/{tile_id}/crystals",
    summary="The crystals of a tile",
    response_model=TileCrystals,
    responses={200: {"content": {GEOJSON: TEXT, CSV: TEXT, ARROW: BINARY}}},
    dependencies=_READ,
)
async def crystals(
    request: Request,
    services: CurrentServices,
    tile_id: TileId,
    filters: FilteredCrystals,
    form: FormOfCrystals,
    well: OfWell = None,
    as_of: AsOf = None,
) -> Response:
    """All crystals of a tile; outlines are polygons in pixels unless `masks` says otherwise.

    `Accept: application/geo+json` gives a FeatureCollection with classification and measurements,
    as QuPath reads it.
    """
    media_type = negotiate(request, JSON, GEOJSON, CSV, ARROW)
    asked = form.of(filters.request(), media_type, "polygons")
    row, content = await read(services, "tile_crystals", tile_id, well, asked, as_of=as_of)
    body = content.body
    if media_type == JSON:
        facts = {name: row[name] for name in ("segmenter", "classifier")}
        start = orjson.dumps({"tile": public_row(request, row), **facts})
        body = start[:-1] + b',"crystals":' + body + b"}"
    return await content_response(request, body, media_type)


@router.get(
    "/tiles/{tile_id}/labels",
    summary="The label picture of a tile",
    responses={200: {"content": {PNG: BINARY, TIFF: BINARY}, "description": "16 bits."}},
    response_class=Response,
    dependencies=_READ,
)
async def labels(
    request: Request,
    services: CurrentServices,
    tile_id: TileId,
    filters: FilteredCrystals,
    well: OfWell = None,
    as_of: AsOf = None,
) -> Response:
    """Pixel value k is the k-th crystal of `/crystals` with these filters; 0 is none."""
    media_type = negotiate(request, PNG, TIFF)
    content: Content = await read(
        services, "labels", tile_id, well, filters.request(), media_type, as_of=as_of
    )
    return await content_response(request, content.body, media_type)


@router.get(
    "/tiles/{tile_id}/overlay",
    summary="The outlines of a tile's crystals",
    responses={200: {"content": {PNG: BINARY}, "description": "Transparent between outlines."}},
    response_class=Response,
    dependencies=_READ,
)
async def overlay(
    request: Request,
    services: CurrentServices,
    tile_id: TileId,
    filters: FilteredCrystals,
    well: OfWell = None,
    width: Annotated[
        int | None, Query(ge=1, le=20_000, description="Width of the picture, pixels.")
    ] = None,
    as_of: AsOf = None,
) -> Response:
    """Outlines in the colours of the shapes on a transparent picture, to lie on the tile."""
    negotiate(request, PNG)
    content: Content = await read(
        services, "overlay", tile_id, well, filters.request(), width, as_of=as_of
    )
    return await content_response(request, content.body, PNG)
