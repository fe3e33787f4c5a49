"""Pictures of tiles by the IIIF Image API 3.0, which OpenSeadragon, Mirador and others read."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from starlette.responses import RedirectResponse

from serve.deployments.messages import JSON, Content
from serve.http.auth import require
from serve.http.dispatch import CurrentServices
from serve.http.errors import Problem, documented
from serve.http.iiif import FORMATS, information, parse_region
from serve.http.openapi import BINARY
from serve.http.responses import json_response, negotiate
from serve.http.routes.catalog import OfWell, TileId
from serve.schemas import ImageInformation

_LD_JSON: Final = "application/ld+json"
_PROFILE: Final = "http://iiif.io/api/image/3/context.json"
_A_DAY: Final = "private, max-age=86400"
_PICTURE: Final = {200: {"content": dict.fromkeys(FORMATS.values(), BINARY)}}

Part = Annotated[str, Path(max_length=100)]

router = APIRouter(
    prefix="/v1/iiif",
    tags=["pictures"],
    # A viewer asks for hundreds of parts of one picture, so they do not count.
    dependencies=[Depends(require("read", counted=False))],
    responses=documented(400, 401, 403, 404, 500, 503),
)


@router.get("/{tile_id}", summary="A tile's picture", status_code=303, response_class=Response)
async def picture(request: Request, tile_id: TileId) -> Response:
    """Leads to `info.json`."""
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"/v1/iiif/{tile_id}/info.json{query}", 303)


@router.get(
    "/{tile_id}/info.json",
    summary="Size of a tile's picture, and what can be asked of it",
    response_model=ImageInformation,
)
async def info(
    request: Request, services: CurrentServices, tile_id: TileId, well: OfWell = None
) -> Response:
    """The image information document of IIIF; the picture itself is not read."""
    media_type = negotiate(request, JSON, _LD_JSON)
    row = await _tile(services, tile_id, well)
    address = str(request.url.replace(path=f"/v1/iiif/{tile_id}", query="", fragment=""))
    response = await json_response(information(address, row["width"], row["height"]))
    response.headers["Cache-Control"] = "private, no-cache"
    if media_type == _LD_JSON:
        response.headers["Content-Type"] = f'{_LD_JSON};profile="{_PROFILE}"'
    return response


@router.get(
    "/{tile_id}/{region}/{size}/{rotation}/{quality}.{format}",
    summary="A region of a tile's picture",
    responses=_PICTURE,
    response_class=Response,
)
async def region(
    request: Request,
    services: CurrentServices,
    tile_id: TileId,
    region: Part,
    size: Part,
    rotation: Part,
    quality: Part,
    format: Part,
    well: OfWell = None,
) -> Response:
    """Region: full, square, x,y,w,h or pct:x,y,w,h. Size: max, w, or ,h or w,h or !w,h or pct:n."""
    media_type = FORMATS.get(format)
    if media_type is None:
        raise Problem(400, f"format: {format[:20]!r}; ask for {', '.join(FORMATS)}")
    if rotation != "0":
        raise Problem(400, f"rotation: {rotation[:20]!r}; only 0 is offered")
    if quality not in ("default", "gray"):
        raise Problem(400, f"quality: {quality[:20]!r}; ask for default or gray")
    row = await _tile(services, tile_id, well)
    wanted = parse_region(region, size, row["width"], row["height"])
    made_of = repr((row["uri"], row["etag"], row["scanned_at"], wanted, media_type))
    headers = {
        "ETag": f'"{hashlib.sha256(made_of.encode()).hexdigest()[:32]}"',
        "Cache-Control": _A_DAY,
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    async with services.time_limit():
        with services.stage("picture"):
            content: Content = await services.call(
                lambda: services.reader.region.remote(tile_id, well, wanted, media_type)
            )
    return Response(content.body, media_type=media_type, headers=headers)


async def _tile(services: Any, tile_id: str, well: str | None) -> dict[str, Any]:
    """The latest row of a tile with a picture."""
    async with services.time_limit():
        row: dict[str, Any] = await services.call(
            lambda: services.reader.latest_tile.remote(tile_id, well)
        )
    if not row["width"] or not row["height"]:
        raise Problem(404, f"{row['uri']}: the scan could not read this tile ({row['error']})")
    return row
