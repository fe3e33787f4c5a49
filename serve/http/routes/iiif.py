"""Pictures of tiles by the IIIF Image API 3, for OpenSeadragon, Mirador and other viewers."""

from __future__ import annotations

from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Depends, Path, Request, Response
from starlette.responses import RedirectResponse

from serve.deployments.iiif import FORMATS, picture_info
from serve.deployments.messages import JSON, Content
from serve.http.auth import require
from serve.http.caching import KEEP, content_response
from serve.http.dispatch import CurrentServices
from serve.http.openapi import BINARY
from serve.http.routes.catalog import PROBLEMS
from serve.http.routes.filters import OfWell, TileId, read
from serve.schemas import PictureInfo

_LD_JSON: Final = 'application/ld+json;profile="http://iiif.io/api/image/3/context.json"'
_Part = Annotated[str, Path(max_length=100)]

router = APIRouter(
    prefix="/v1/iiif",
    tags=["pictures"],
    dependencies=[Depends(require("read", pictures=True))],
    responses=PROBLEMS,
)


@router.get("/{tile_id}", summary="Where a picture is described", status_code=303)
async def base(request: Request, tile_id: TileId, well: OfWell = None) -> Response:
    """Redirects to `info.json`, as IIIF asks."""
    del tile_id
    query = f"?{request.url.query}" if well else ""
    return RedirectResponse(f"{request.url.path}/info.json{query}", 303)


@router.get("/{tile_id}/info.json", summary="A picture's sizes", response_model=PictureInfo)
async def info(
    request: Request, services: CurrentServices, tile_id: TileId, well: OfWell = None
) -> Response:
    """Size, tiles and formats of a picture, as IIIF viewers read them."""
    width, height, _ = await read(services, "picture_size", tile_id, well)
    address = str(request.url.replace(query="")).removesuffix("/info.json")
    linked = "ld+json" in request.headers.get("accept", "").lower()
    body = orjson.dumps(picture_info(address, width, height))
    return await content_response(request, body, _LD_JSON if linked else JSON)


@router.get(
    "/{tile_id}/{region}/{size}/{rotation}/{quality}.{form}",
    summary="A part of a picture",
    responses={200: {"content": dict.fromkeys(FORMATS.values(), BINARY)}},
    response_class=Response,
)
async def part(
    request: Request,
    services: CurrentServices,
    tile_id: TileId,
    region: _Part,
    size: _Part,
    rotation: _Part,
    quality: _Part,
    form: _Part,
    well: OfWell = None,
) -> Response:
    """A region at a size: `full/max/0/default.jpg`, `0,0,512,512/256,/0/default.webp`.

    Regions may be `full`, `square`, `x,y,w,h` and `pct:x,y,w,h`, sizes `max`, `w,`, `,h`, `w,h`,
    `!w,h` and `pct:n`; formats are `jpg`, `png` and `webp`.
    """
    address = (region, size, rotation, quality, form)
    content: Content = await read(services, "picture_part", tile_id, well, address)
    version = f"{content.version} {'/'.join(address)}"
    return await content_response(
        request, content.body, content.media_type, version=version, cache=KEEP
    )
